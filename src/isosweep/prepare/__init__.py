"""Photographs or a video become a scene on disk that trains: images, masks, poses, region, layouts, contact sheet.

May import: cores, data, geometry, record, types.
"""
