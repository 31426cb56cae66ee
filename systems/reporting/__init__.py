"""Reports on trained policies, the command `lockstep evaluate`: what they measure, their figures and their page.

`measures` turns the logs of episodes into numbers and `figures` into pictures, `summary` puts seeds and runs together, `page` writes
the HTML. `trials` has the episodes logged, `policies` opens what is compared, `evaluation` plays and reports it, and
`command` is what a person types. Imports components, the rest of systems, and of the engine what reads a run.
"""
