"""The pure core: what is sent, what comes back, and what it means. No HTTP library, no clock, no event loop."""
