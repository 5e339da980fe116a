"""Photographs or a video to a scene that trains: frames, poses, masks, region, layouts, contact sheet."""
