"""How fast images reach a training, from the decoded cache and from JPEG files, side by side on this machine.

    python tests/bench/bench_input.py [--images TREE] [--folder FOLDER] [--device cpu] [--rounds 5]

Legs take turns, round by round, in 1, 2 and 4 processes at once with one torch thread each:
  cache      chex.reader and chex.batches on a cache of 2 GB, plain, lit (the default) and moved too
  imagefolder  torchvision's ImageFolder, RGB, with a DataLoader and the same augmentation
  pil        a lean Dataset that reads gray with PIL, with a DataLoader, not augmented
  copies     rows copied from the cache and normalised batches copied from memory, with nothing done to them
A rate is images per CPU second, the processes together; ratios are taken within each round. Then: what a further
process that reads the cache adds to memory, and the speed of the build. Images are a phantom's, or those of TREE.
Ends with the same figures as a line of JSON.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from chex.data.batches import augment, load_batch
from chex.data.data_config import AffineConfig, BatchesConfig, ImageConfig
from chex.data.image_cache import load_or_build
from chex.data.prefetch import prefetch
from chex.models.classifier import normalization_of
from chex.phantom.write import PhantomConfig, write_phantom
from chex.runtime.resumable_memmap import ResumableMemmap, read_array

SIZE, BATCH, ROWS = 320, 32, 20_480
"""Pixels a side, images a batch, rows of the cache: 2.1 GB."""
SECONDS = 0.7
"""Of one leg in one round."""
CONSUMERS = (1, 2, 4)
FULL = 24
"""Images in full resolution."""
GRAY = normalization_of("densenet121")
AFFINE = AffineConfig(degrees=5, translate=0.05, scale=0.05)
NEEDED = {
    "cache plain / imagefolder plain": 50,
    "cache plain / pil plain": 15,
    "cache lit / imagefolder lit": 5,
    "cache moved / imagefolder moved": 1,
    "cache plain / copied rows": None,
    "cache plain / copied batches": None,
}
"""Least ratios of images per CPU second."""


class Gray(Dataset[torch.Tensor]):
    """What is left when a Dataset does no more than it must."""

    def __init__(self, paths: list[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        with Image.open(self.paths[row]) as film:
            gray = film.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(gray)).unsqueeze(0).float().mul_(1 / (255 * GRAY.std)).add_(GRAY.black)


def colour(*augmentation: Any) -> transforms.Compose:
    """The usual transforms of an ImageNet model."""
    usual = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    return transforms.Compose([transforms.Resize((SIZE, SIZE)), *augmentation, transforms.ToTensor(), usual])


def from_files(data: Dataset[Any], device: torch.device, workers: int = 0) -> Iterator[torch.Tensor]:
    while True:
        for batch in DataLoader(data, BATCH, shuffle=True, num_workers=workers):
            yield (batch if isinstance(batch, torch.Tensor) else batch[0]).to(device)


def from_cache(images: np.ndarray, config: BatchesConfig | None, device: torch.device) -> Iterator[torch.Tensor]:
    rng = np.random.default_rng(os.getpid())
    endless = (rng.integers(len(images), size=BATCH) for _ in iter(int, 1))
    for step, (_, films) in enumerate(prefetch(images, endless, GRAY, device)):
        yield films if config is None else augment(films, GRAY.black, config, 0, step)


def copied(source: np.ndarray) -> Iterator[torch.Tensor]:
    rng, batch = np.random.default_rng(0), np.empty((BATCH, *source.shape[1:]), source.dtype)
    while True:
        yield torch.from_numpy(np.take(source, rng.integers(len(source), size=BATCH), axis=0, out=batch, mode="clip"))


def legs(tree: Path, images: np.ndarray, device: torch.device) -> dict[str, Iterator[torch.Tensor]]:
    """Endless batches of each leg."""
    jitter = transforms.ColorJitter(0.2, 0.2)
    move = transforms.RandomAffine(AFFINE.degrees, (AFFINE.translate,) * 2, (1 - AFFINE.scale, 1 + AFFINE.scale))
    ready = load_batch(images, np.arange(16 * BATCH), GRAY, torch.device("cpu")).numpy()
    return {
        "imagefolder plain": from_files(ImageFolder(str(tree), colour()), device),
        "imagefolder lit": from_files(ImageFolder(str(tree), colour(jitter)), device),
        "imagefolder moved": from_files(ImageFolder(str(tree), colour(move, jitter)), device),
        "pil plain": from_files(Gray(films_of(tree)), device),
        "cache plain": from_cache(images, None, device),
        "cache lit": from_cache(images, BatchesConfig(), device),
        "cache moved": from_cache(images, BatchesConfig(affine=AFFINE), device),
        "copied rows": copied(images),
        "copied batches": copied(ready),
    }


def films_of(tree: Path) -> list[Path]:
    return sorted(path for path in tree.rglob("*") if path.suffix in (".jpg", ".png"))


def opened(cache: Path, rows: int = ROWS) -> np.ndarray:
    images = read_array(cache, (rows, SIZE, SIZE))
    assert images is not None, cache
    return images


def consumer(orders: Connection, tree: Path, cache: Path, tiny: Path, device: torch.device) -> None:
    """A process that does as it is told: reads a cache, says what memory it has, runs a leg."""
    torch.set_num_threads(1)
    read_all(opened(tiny, BATCH), device)
    images, running = np.empty(0), dict[str, Iterator[torch.Tensor]]()
    while (order := orders.recv()) is not None:
        if order == "read":
            images = opened(cache)  # stays mapped, as in a training
            orders.send(read_all(images, device))
        elif order == "memory":
            orders.send(proportional_set())
        else:
            running = running or legs(tree, images, device)
            orders.send(timed(running[order], device))
    for leg in running.values():
        leg.close()  # type: ignore[attr-defined]


def read_all(images: np.ndarray, device: torch.device) -> int:
    rows = np.arange(len(images)).reshape(-1, BATCH)
    return sum(len(films) for _, films in prefetch(images, rows, GRAY, device))


def proportional_set() -> int:
    """Bytes of this process, pages that it shares divided by those who share them; Linux only."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("no Pss in smaps_rollup")


def timed(batches: Iterator[torch.Tensor], device: torch.device) -> dict[str, float]:
    next(batches)
    wall, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < SECONDS:
        count += len(next(batches))
    if device.type == "cuda":
        torch.cuda.synchronize()
    return {"images": count, "cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


@contextmanager
def consumers(*about: Any) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(max(CONSUMERS))]
    processes = [context.Process(target=consumer, args=(theirs, *about)) for _, theirs in pipes]
    for process in processes:
        process.start()
    try:
        yield [ours for ours, _ in pipes]
    finally:
        for (ours, _), process in zip(pipes, processes, strict=True):
            ours.send(None)
            process.join()


def told(pipes: list[Connection], order: str) -> list[Any]:
    for pipe in pipes:
        pipe.send(order)
    return [pipe.recv() for pipe in pipes]


def memory(pipes: list[Connection]) -> dict[str, float]:
    """What each further process adds in all when it has read the whole cache, over what it had before."""
    sums = [sum(told(pipes, "memory"))]
    for pipe in pipes:
        told([pipe], "read")
        sums.append(sum(told(pipes, "memory")))
    added = np.diff(sums) / (ROWS * SIZE * SIZE)
    return {"cache bytes": ROWS * SIZE * SIZE, "first": added[0], "further, most": max(added[1:])}


def rates(pipes: list[Connection], rounds: int) -> dict[int, dict[str, dict[str, list[float]]]]:
    """Images per CPU second and per second, a figure a round, by consumers and leg."""
    names = [*dict.fromkeys(name for ratio in NEEDED for name in ratio.split(" / "))]
    found = {count: {name: {"cpu": [], "wall": []} for name in names} for count in CONSUMERS}
    for turn in range(rounds + 1):  # the first one warms up and does not count
        for count in CONSUMERS:
            for name in names:
                parts = told(pipes[:count], name)
                if turn:
                    images = sum(part["images"] for part in parts)
                    found[count][name]["cpu"].append(images / sum(part["cpu"] for part in parts))
                    found[count][name]["wall"].append(sum(part["images"] / part["wall"] for part in parts))
    return found


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """(CPU, wall) that `work` takes, its child processes included."""

    def cpu() -> float:
        return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))

    before, started = cpu(), time.perf_counter()
    work()
    return cpu() - before, time.perf_counter() - started


def builds(tree: Path, folder: Path, rounds: int) -> dict[str, list[float]]:
    """The build against one pass of `pil`: without workers per CPU second, and with a worker a core also per second.

    Both squash, so that both do the same to an image; letterboxed, a small image costs the build a fifth more.
    """
    films = films_of(tree)
    paths = np.array([str(path.relative_to(tree)) for path in films])
    found: dict[str, list[float]] = {
        "images/s": [],
        "images per CPU second": [],
        "alone, cpu": [],
        "workers, cpu": [],
        "workers, wall": [],
    }
    for turn in range(rounds):
        config = ImageConfig(size=SIZE, resize="stretch", cache_dir=folder / f"build-{turn}")
        ours = seconds(lambda config=config: load_or_build(tree, paths, config))  # type: ignore[misc]
        alone, together = (
            seconds(lambda workers=workers: list(DataLoader(Gray(films), BATCH, num_workers=workers)))  # type: ignore[misc]
            for workers in (0, os.cpu_count() or 1)
        )
        found["images/s"].append(len(films) / ours[1])
        found["images per CPU second"].append(len(films) / ours[0])
        found["alone, cpu"].append(alone[0] / ours[0])
        found["workers, cpu"].append(together[0] / ours[0])
        found["workers, wall"].append(together[1] / ours[1])
    return found


def phantom(folder: Path) -> Path:
    """A phantom's images, saved as finely as CheXpert's: about 45 kB each."""
    tree = write_phantom(folder, PhantomConfig(train=600, valid=40))
    for path in films_of(tree):
        with Image.open(path) as film:
            film.save(path, quality=95)
    return tree


def enlarged(tree: Path, folder: Path) -> Path:
    """A few images of `tree` in the size of full-resolution CheXpert."""
    folder.mkdir()
    for number, path in enumerate(films_of(tree)[:FULL]):
        with Image.open(path) as film:
            scale = 2828 / max(film.size)
            large = film.convert("L").resize((round(film.width * scale), round(film.height * scale)))
        large.save(folder / f"{number}.jpg", quality=90)
    return folder


def write_cache(path: Path, films: np.ndarray, rows: int = ROWS) -> Path:
    """An array in the cache's format, of decoded images over and over."""
    with ResumableMemmap(path, (rows, SIZE, SIZE), 256) as part:
        for block in range(part.count):
            place = part.rows(block)
            part.write(block, films[np.arange(place.start, place.stop) % len(films)])
        part.finish()
    return path


def summary(values: list[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "worst": float(np.min(values))}


def machine(device: torch.device) -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    gpu = f", {torch.cuda.get_device_name()}" if device.type == "cuda" else ""
    return f"{model}, {os.cpu_count()} cores{gpu}, torch {torch.__version__}"


def main(tree: Path | None, folder: Path, device: torch.device, rounds: int) -> None:
    torch.set_num_threads(1)
    tree = tree or phantom(folder / "films")
    films = films_of(tree)
    paths = np.array([str(path.relative_to(tree)) for path in films])
    decoded = load_or_build(tree, paths, ImageConfig(size=SIZE, cache_dir=folder / "decoded"))
    cache, tiny = write_cache(folder / "cache.npy", decoded), write_cache(folder / "tiny.npy", decoded, BATCH)
    with consumers(tree, cache, tiny, device) as pipes:
        added = memory(pipes)
        found = rates(pipes, rounds)
    ratios = {
        count: {
            name: {
                kind: summary([a / b for a, b in zip(*(legs[leg][kind] for leg in name.split(" / ")), strict=True)])
                for kind in ("cpu", "wall")
            }
            for name in NEEDED
        }
        for count, legs in found.items()
    }
    built = {
        name: {kind: summary(values) for kind, values in builds(each, folder / name, rounds).items()}
        for name, each in {"small": tree, "full": enlarged(tree, folder / "enlarged")}.items()
    }
    result = {
        "machine": machine(device),
        "device": str(device),
        "films": len(films),
        "image bytes": round(float(np.mean([path.stat().st_size for path in films]))),
        "rates": {
            count: {leg: {kind: summary(v) for kind, v in kinds.items()} for leg, kinds in legs.items()}
            for count, legs in found.items()
        },
        "ratios": ratios,
        "added memory": added,
        "build": built,
    }
    show(result, rounds)
    print(json.dumps(rounded(result)))


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def show(result: dict[str, Any], rounds: int) -> None:
    print(
        f"{result['machine']}; batches of {BATCH} at {SIZE} px on {result['device']}; {result['films']} images of "
        f"{result['film bytes']:,} bytes; {rounds} rounds: median (worst)\n"
    )
    for count, legs in result["rates"].items():
        print(f"{count} at once" + f"{'images/s per core':>40}{'images/s in all':>24}")
        for name, kinds in legs.items():
            print(f"  {name:<34}{pair(kinds['cpu'], ',.0f'):>20}{pair(kinds['wall'], ',.0f'):>24}")
        for name, kinds in result["ratios"][count].items():
            needed = f"   at least {NEEDED[name]}" if NEEDED[name] else ""
            print(f"  {name:<34}{pair(kinds['cpu'], '.2f'):>20}{pair(kinds['wall'], '.2f'):>24}{needed}")
    added = result["added memory"]
    print(
        f"\nmemory (PSS) over the same process without the cache, of its {added['cache bytes'] / 1e9:.1f} GB: the "
        f"first consumer {added['first']:.1%}, a further one at most {added['further, most']:.2%}   less than 5 %"
    )
    print(
        f"\nbuild{'films/s':>21}{'per core':>18}{'/ pil, per core':>20}; / pil with a worker a core: per core, in all"
    )
    for name, kinds in result["build"].items():
        columns = [pair(figures, ",.0f" if kind.startswith("films") else ".2f") for kind, figures in kinds.items()]
        print(f"  {name:<6}" + "".join(f"{column:>18}" for column in columns) + "   at least 1.5")


def pair(figures: dict[str, float], form: str) -> str:
    return f"{figures['median']:{form}} ({figures['worst']:{form}})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="a tree of real images to read instead of a phantom's")
    parser.add_argument("--folder", type=Path, help="a local disk with 3 GB of room; the system's by default")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        main(chosen.films, Path(scratch), chosen.device, chosen.rounds)
