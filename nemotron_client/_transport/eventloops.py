"""What asyncio and trio each have in their own way, and anyio in none: starting and calling without waiting."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from anyio.lowlevel import EventLoopToken


def is_running(loop: EventLoopToken) -> bool:
    """Tell whether an event loop still runs."""
    native_is_running = getattr(loop.native_token, "is_running", None)  # asyncio's has it
    if native_is_running is not None:
        return bool(native_is_running())
    try:
        soon(loop)(lambda: None)  # trio's raises when the run is over
    except RuntimeError:
        return False
    return True


def soon(loop: EventLoopToken) -> Callable[[Callable[[], None]], object]:
    """Return what calls a function in an event loop, from any thread or finaliser, without waiting for it.

    It raises RuntimeError where the loop is over.
    """
    native = loop.native_token
    name = "call_soon_threadsafe" if hasattr(native, "call_soon_threadsafe") else "run_sync_soon"  # asyncio's, trio's
    call_soon: Callable[[Callable[[], None]], object] = getattr(native, name)
    return call_soon


def spawn(
    loop: EventLoopToken, name: str, run: Callable[[], Coroutine[object, object, None]], over: Callable[[], None]
) -> object:
    """Start a task that sees the caller's context variables.

    Args:
        loop: The event loop that runs; a callback of asyncio's has no task by which anyio could tell.
        name: The task's.
        run: What it does.
        over: Called at its end on asyncio, whose tasks may never begin.

    Returns:
        The task, for the caller to keep, since asyncio might lose it.
    """
    from asyncio import AbstractEventLoop

    native = loop.native_token
    if isinstance(native, AbstractEventLoop):
        task = native.create_task(run(), name=name)
        task.add_done_callback(lambda _: over())
        return task
    from trio.lowlevel import spawn_system_task

    return spawn_system_task(run, name=name, context=copy_context())
