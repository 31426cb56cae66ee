"""Runs: what the command line does with a scene file.

`experiment` holds what a scene file declares (`Experiment`, `Trial`), `scene_file` finds it, `flags` and `config` make the
command line's flags of it, `training` trains, `trial` plays a trained policy, `commands` evaluates, films and exports,
`replay` sees episodes again. `run_folder`, `checkpoint`, `provenance` and `plot` keep the files of a run, `console` shows it,
`recording` and `debugging` let others look, `processors` warns of a run that is bound to few of them. `run` and `replay_command` are the commands, `cli` the console script `lockstep`
that finds commands of any distribution.

This room may import every other room of the engine but `debugger`. Public words: `Experiment` and `Trial`.
"""
