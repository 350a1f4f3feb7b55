"""Train one trial on several devices of a machine: ``trainer.devices``.

The trial's own process is rank 0; the others are spawned and run the same ``engine.train`` with the
same seed. They all draw the same order of the same images, and every rank takes its share of each
batch. Gradients and the statistics of batch norms are averaged over all ranks, mixing crosses the
borders of shares, and class weights are those of the whole batch. Except for rounding and for the
random numbers of dropout, the result is that of one device with the same batch size.

Only rank 0 reports and writes checkpoints. After each report it tells the others whether to
continue.
"""
