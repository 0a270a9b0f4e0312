"""Where the network, the clock and the event loop are: two small drivers that carry out what flows ask for."""
