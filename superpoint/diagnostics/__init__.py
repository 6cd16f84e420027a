"""Why a training run fails: probes into its steps, checks of its data, network and history, and pictures of it."""
