"""Images to judge models on, and how good answers are: folders, .npz, labels, preprocessing."""
