"""Teaching by layers: which layers to bring together, and what their difference costs.

`FeatureLoss` names a pair of layers by their paths; `Distiller(feature_losses=[...])` records what
the two make while each model runs once, widens the student's side where it is narrower, and adds
the loss. The equations are in `feature_losses`, reachable as `tfdistill.losses`.
"""

from tfdistill.features.feature_loss import FeatureLoss

__all__ = ["FeatureLoss"]
