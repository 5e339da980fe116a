"""`ImageStore`: the images of all views as bytes. Views may have different sizes; pixels are read one by one.

Axes: V views, N the pixels of all views in one list, C = 3 (colour) or 4 (colour and mask), R pixels of a batch.
"""

import logging
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from isosweep import ops
from isosweep.data.cache import FilePixels, cache_folder, cache_key, open_cached, write_cached
from isosweep.data.decode import Source, decode, read_header
from isosweep.errors import InputError
from isosweep.runtime import interrupts
from isosweep.runtime.groups import groups
from isosweep.runtime.progress import Progress, tell

log = logging.getLogger(__name__)
_GIB = 2**30
SPARE = 256
"""Kept pixels of each view that are known beforehand, where some are to be ignored."""
_DECODED_AT_ONCE = 2**27
"""Stored pixels of the images that threads decode at the same time; a larger image is decoded alone."""
_HEADERS_AT_ONCE = 1024
_COPIED_AT_ONCE = 2**27
"""Bytes that are copied to a device at a time."""


@final
class ImageStore:
    """Implements `isosweep.types.Images` with one uint8 array [N, C] in memory, in a file or on a CUDA device."""

    def __init__(
        self,
        pixels: UInt8[Tensor, "n c"],
        hw: Int[Tensor, "v 2"],
        is_alpha: bool,
        file: FilePixels | None = None,
        ignores: bool = False,
    ) -> None:
        """Take over the pixels of all views.

        Args:
            pixels: colour and mask as bytes, view after view, rows of a view one after another.
            hw: height and width of each view.
            is_alpha: whether the masks are the images' own alpha channel.
            file: the file that ``pixels`` is a memory map of; pixels are then read from the file.
            ignores: whether the fourth byte is no mask but says whether the pixel is kept (255) or to be ignored (0).

        Raises:
            ValueError: the number of pixels is not that of the views, or a pixel has neither 3 nor 4 bytes.
        """
        counts = hw.prod(-1)
        if len(pixels) != int(counts.sum()) or pixels.shape[1] not in (3, 4):
            raise InputError(
                f"{len(hw)} views have {int(counts.sum())} pixels of 3 or 4 bytes; the array is {tuple(pixels.shape)}"
            )
        self._pixels = pixels
        self._hw = hw.cpu()
        self._is_alpha = is_alpha
        self._offsets = (counts.cumsum(0) - counts).to(pixels.device)
        self._size = hw.to(pixels.device)
        self._file = file
        self._ignores = ignores and pixels.shape[1] == 4
        self._shares: list[float] | None = None
        self._spare: Int[Tensor, "v s 2"] | None = None

    @property
    def hw(self) -> Int[Tensor, "v 2"]:
        return self._hw

    @property
    def has_masks(self) -> bool:
        return self._pixels.shape[1] == 4 and not self._ignores

    @property
    def ignores(self) -> bool:
        """Whether some pixels are to be ignored: no ray is drawn from them, and no score counts them."""
        return self._ignores

    @property
    def is_alpha(self) -> bool:
        return self._is_alpha

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels, in memory or in the file."""
        return self._pixels.numel()

    @property
    def device(self) -> torch.device:
        return self._pixels.device

    @property
    def in_file(self) -> bool:
        """Whether pixels are read from a file each time."""
        return self._file is not None

    def gather(
        self, view: Int[Tensor, " r"], row: Int[Tensor, " r"], col: Int[Tensor, " r"]
    ) -> tuple[Float[Tensor, "r 3"], Float[Tensor, " r"] | None]:
        """Straight (not premultiplied) colour and mask in [0, 1] of single pixels, on the device of ``view``.

        Raises:
            IndexError: a pixel outside its view. A card is not waited for to find it: its kernel gives NaN instead.
        """
        target, store = view.device, self._pixels.device
        view, row, col = view.to(store), row.to(store), col.to(store)
        if self._file is None and store == target:
            rgb, mask = ops.gather_pixels(self._pixels, self._offsets, self._size, view, row, col)
            return rgb, None if self._ignores else mask
        if store.type == "cpu":
            ops.check_places(self._size, view, row, col)
        rgb, mask = ops.as_colors(self._picked(self._places(view, row, col)).to(target))
        return rgb, None if self._ignores else mask

    def kept(
        self, view: Int[Tensor, " r"], row: Int[Tensor, " r"], col: Int[Tensor, " r"]
    ) -> Bool[Tensor, " r"]:
        """Whether single pixels are kept, on the device of ``view``; only of images with pixels to ignore."""
        target, store = view.device, self._pixels.device
        picked = self._picked(self._places(view.to(store), row.to(store), col.to(store)))
        return (picked[:, 3] == 255).to(target)

    def kept_image(self, view: int) -> Bool[Tensor, "h w"] | None:
        """Which pixels of one view are kept, on the CPU; None where no image has pixels to ignore."""
        if not self._ignores:
            return None
        h, w = self._hw[view].tolist()
        return (self._span(int(self._offsets[view]), h * w)[:, 3].cpu() == 255).view(h, w)

    @property
    def kept_shares(self) -> list[float]:
        """The share of pixels of each view that are kept."""
        self._count_kept()
        return self._shares or []

    @property
    def spare(self) -> Int[Tensor, "v s 2"]:
        """Row and column of `SPARE` kept pixels of each view, evenly spaced among them; 0 for a view without any."""
        self._count_kept()
        assert self._spare is not None, "counted above"
        return self._spare

    def _count_kept(self) -> None:
        """Pass over all pixels once, at the first use."""
        if self._shares is not None:
            return
        self._shares, spare = [], torch.zeros(len(self._hw), SPARE, 2, dtype=torch.long)
        for view in range(len(self._hw)):
            kept = self.kept_image(view)
            places = torch.ones(*self._hw[view].tolist()).nonzero() if kept is None else kept.nonzero()
            self._shares.append(len(places) / int(self._hw[view].prod()))
            if len(places):
                spare[view] = places[torch.linspace(0, len(places) - 1, SPARE, dtype=torch.float64).long()]
        self._spare = spare.to(self._pixels.device)

    def image(self, view: int) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"] | None]:
        """Straight (not premultiplied) colour and mask in [0, 1] of one whole view, on the CPU."""
        h, w = self._hw[view].tolist()
        start = int(self._offsets[view])
        picked = self._span(start, h * w).cpu().float().view(h, w, -1) / 255
        return picked[..., :3], picked[..., 3] if self.has_masks else None

    def empty_pieces(self, n: int, length: int) -> UInt8[Tensor, "n length c"]:
        """Memory for ``n`` pieces of ``length`` pixels, zeros on the CPU."""
        return torch.zeros(n, length, self._pixels.shape[1], dtype=torch.uint8)

    def pieces(
        self, view: Int[Tensor, " n"], row: Int[Tensor, " n"], col: Int[Tensor, " n"], length: int
    ) -> UInt8[Tensor, "n length c"]:
        """``length`` pixels from each pixel on towards the right, as bytes on the CPU.

        Beyond the end of an image row they are the pixels that follow in the file: the next row's.

        Raises:
            ValueError: the pixels are not in a file.
        """
        first = self._places(view, row, col)
        return torch.from_numpy(self._in_file().runs(first.numpy(), length))

    def prefetch(
        self, view: Int[Tensor, " n"], row: Int[Tensor, " n"], col: Int[Tensor, " n"], length: int
    ) -> None:
        """Tell the system which pixels `pieces` will read, so that it reads them in the background.

        Raises:
            ValueError: the pixels are not in a file.
        """
        self._in_file().prefetch(self._places(view, row, col).numpy(), length)

    @staticmethod
    def joined(stores: "Sequence[ImageStore]") -> "ImageStore":
        """One store of the views of several, in memory; they hold the same images at several sizes."""
        counts = [int(store.hw.prod(-1).sum()) for store in stores]
        pixels = torch.cat([store._span(0, n) for store, n in zip(stores, counts, strict=True)])
        hw = torch.cat([store.hw for store in stores])
        return ImageStore(pixels, hw, stores[0].is_alpha, ignores=stores[0].ignores)

    def to(self, device: torch.device | str) -> "ImageStore":
        """The same images on ``device``; this store where they need more than half of the free memory there."""
        device = torch.device(device)
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
            if self.nbytes > free // 2:
                log.info(
                    "%.2f GiB of images stay on the CPU: the device has %.2f GiB free",
                    self.nbytes / _GIB,
                    free / _GIB,
                )
                return self
        if device == self._pixels.device:
            return self
        moved = torch.empty_like(self._pixels, device=device)
        rows = _COPIED_AT_ONCE // self._pixels.shape[1]
        for start in range(0, len(moved), rows):
            moved[start : start + rows] = self._span(start, min(rows, len(moved) - start)).to(device)
        return ImageStore(moved, self._hw, self._is_alpha, ignores=self._ignores)

    def _picked(self, flat: Int[Tensor, " r"]) -> UInt8[Tensor, "r c"]:
        return self._pixels[flat] if self._file is None else torch.from_numpy(self._file.rows(flat.numpy()))

    def _places(self, view: Tensor, row: Tensor, col: Tensor) -> Int[Tensor, " r"]:
        return self._offsets[view] + row * self._size[view, 1] + col

    def _in_file(self) -> FilePixels:
        if self._file is None:
            raise InputError("pieces are read from a file; these images are in memory")
        return self._file

    def _span(self, start: int, count: int) -> UInt8[Tensor, "r c"]:
        if self._file is None:
            return self._pixels[start : start + count]
        return torch.from_numpy(self._file.span(start, count))


def load_images(
    sources: Sequence[Source], downscale: int = 1, cache: bool = True, memory: float = 1.0
) -> ImageStore:
    """Decode the images and masks of all views.

    Up to ``memory`` GiB are kept in memory. Larger sets, and images whose distortion is removed, are written to a
    file in the cache folder (data/cache.py), which later runs open instead of decoding. ``cache=False`` keeps
    everything in memory and undistorts in every run. Where only some views have a mask or alpha, the others
    count as foreground everywhere.

    Args:
        downscale: side of the square of image pixels that becomes one pixel.
        memory: GiB of pixels above which the cache file is read instead of memory.

    Raises:
        FileNotFoundError, ValueError: see data/decode.py; also where an image is smaller than ``downscale`` pixels.
        OSError: the cache cannot be written.
    """
    if not sources:
        raise InputError("no images to load: the list of views is empty")
    headers = []
    with ThreadPoolExecutor(_workers()) as pool:
        for start in range(0, len(sources), _HEADERS_AT_ONCE):
            interrupts.check()
            tell(Progress("looking at images", start, len(sources)))
            headers += pool.map(read_header, sources[start : start + _HEADERS_AT_ONCE])
    sizes = [h.height * h.width for h in headers]
    hw = np.array([(h.height, h.width) for h in headers]) // downscale
    if (hw == 0).any():
        small = sources[int(np.argwhere((hw == 0).any(1))[0, 0])].image
        raise InputError(f"downscale={downscale} leaves nothing of {small}: lower it")
    files = any(s.mask is not None for s in sources)
    alpha = not files and any(h.alpha for h in headers)
    shape = (int(hw.prod(1).sum()), 4 if files or alpha else 3)
    ignores = any(s.ignores for s in sources)
    if ignores and any(h.alpha for h in headers):
        log.warning(
            "some images have alpha, and masks say which pixels to ignore: the alpha is left out, and every pixel that "
            "is not ignored counts (dataset.masks=false takes the alpha instead)"
        )
    file = None
    large = shape[0] * shape[1] > memory * _GIB
    if cache and (large or any(s.warp is not None for s in sources)):
        file = _cached(sources, shape, downscale, sizes)
        pixels = file.mapped
        if not large:
            pixels, file = file.span(0, shape[0]), None
    else:
        pixels = np.empty(shape, np.uint8)
        start = 0
        for view in _decoded(sources, shape[1] == 4, downscale, sizes):
            flat = view.reshape(-1, shape[1])
            pixels[start : start + len(flat)] = flat
            start += len(flat)
    return ImageStore(as_tensor(pixels), torch.from_numpy(hw), alpha, file, ignores)


def as_tensor(pixels: UInt8[np.ndarray, "n c"]) -> UInt8[Tensor, "n c"]:
    """A tensor that shares the array's memory. It may be read-only, so nothing may write to the tensor."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(pixels)


def _cached(
    sources: Sequence[Source], shape: tuple[int, int], downscale: int, sizes: Sequence[int]
) -> FilePixels:
    path = cache_folder() / "images" / f"{cache_key(sources, downscale, shape[1])}.npy"
    found = open_cached(path, shape)
    if found is None:
        log.info("decoding %d images into %s", len(sources), path)
        write_cached(path, shape, _decoded(sources, shape[1] == 4, downscale, sizes))
        found = open_cached(path, shape)
    if found is None:
        raise OSError(f"the image cache {path} was written but cannot be read back: is the disk damaged?")
    return found


def _decoded(
    sources: Sequence[Source], with_mask: bool, downscale: int, sizes: Sequence[int]
) -> Iterator[np.ndarray]:
    """The decoded views in order. Threads decode a few at a time, so that few of them are in memory.

    Args:
        sizes: the pixels of each image as it is stored.
    """
    workers = _workers()
    began = time.monotonic()
    for start, end in groups(sizes, _DECODED_AT_ONCE, 4 * workers):
        interrupts.check()
        left = (time.monotonic() - began) / start * (len(sources) - start) if start else None
        tell(Progress("decoding images", start, len(sources), left))
        some = sources[start:end]
        # the threads have ended before a view is given out: the collector may end this generator at any moment, also
        # where another thread is being made, and waiting for threads there would never end
        with ThreadPoolExecutor(workers) as pool:
            views = list(pool.map(lambda s: decode(s, with_mask, downscale), some))
        yield from views


def _workers() -> int:
    return min(8, os.cpu_count() or 1)
