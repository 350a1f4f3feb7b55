"""One trial on several devices of a machine: ``trainer.devices``.

The trial's own process is rank 0; the others are spawned and run the same ``engine.train`` with the
same seed.  So they all draw the same order of the same images, and of each batch every rank takes
its share.  Gradients and the statistics of batch norms are averaged over all ranks, mixing reaches
from share to share and class weights are those of the whole batch: but for rounding and for what
dropout drops, the result is that of one device with the same batch size.

Rank 0 alone reports and keeps checkpoints.  After each report it tells the others whether to go on.
"""

from tuner.train.ddp.ranks import ranks
from tuner.train.ddp.share import shared

__all__ = ["ranks", "shared"]
