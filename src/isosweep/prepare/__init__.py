"""Photographs or a video become a scene on disk that trains: images, masks, poses, region, layouts, contact sheet.

May import: data, errors, geometry, runtime, types.
"""
