"""Inputs and outputs of LightGlue (cvg/LightGlue and kornia); weights trained here by `matching.lightglue`."""

from superpoint.matching.lightglue import lightglue_input, load_matcher, matches_of

__all__ = ["lightglue_input", "load_matcher", "matches_of"]
