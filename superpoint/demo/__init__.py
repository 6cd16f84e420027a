"""The demonstration page: two images in, keypoints and matches out."""
