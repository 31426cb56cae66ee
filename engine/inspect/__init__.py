"""The live debugger's half inside a run: sockets in a thread of their own, and hooks of the schedule in the ticking thread.

`server.DebugServer` lets clients in (`listener`, `sockets`, `client`) and carries messages to and from the tick
thread, where `inspector.Inspector` samples the run (`publisher`, `subscription`, `episodes`) and stands still (`stepping`,
`breakpoints`, `expression`). `commands.handle` does what a client asks; `edit` and `interventions` are changes by hand.
`run_handle.RunHandle` is what all of it asks of the run. May import: recording, protocol, snapshot, ecs, files, errors.
`server` and what it imports load without torch.
"""
