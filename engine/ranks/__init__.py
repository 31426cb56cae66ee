"""Many processes that learn one thing together, and rows that are cut into blocks so that their number changes no byte.

May import: snapshot, ecs, files, errors. `torch.distributed` is imported when several processes are asked for, never before.

blocks         Blocks, the resource by which a system sums over the rows of all processes
sharing        how a resource is the same in all processes: OWN, REDUCED, GATHERED, summed(...)
draws          random numbers of a block, whoever draws them
distribution   systems that are run block by block, or on the rows of all processes; and what is refused
ranks          the processes: joining, exchanging, waiting, and the errors when one of them is lost
agreement      what they must agree on before anything runs
logical        one snapshot of all of them
"""
