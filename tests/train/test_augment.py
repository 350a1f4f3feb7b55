import pytest
import torch

from tuner.train.data.augment import Augment

SIZE = (6, 9)
IMAGES = torch.arange(4 * 6 * 9 * 3).remainder(251).add(1).to(torch.uint8).view(4, 6, 9, 3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mirror(position: int, size: int) -> int:
    """As NumPy's and PyTorch's "reflect"; good for one mirror."""
    return -position if position < 0 else min(position, 2 * (size - 1) - position)


def pixel_by_pixel(augment: Augment, image: torch.Tensor, draw: list[int]) -> torch.Tensor:
    """The plain definition of what `take` does to one image."""
    down, right, mirrored, row, col = draw
    height, width, _ = image.shape
    result = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            from_y, from_x = y - down, (width - 1 - x if mirrored else x) - right
            if augment.border == "reflect":
                from_y, from_x = mirror(from_y, height), mirror(from_x, width)
            top, left = row - augment.cutout // 2, col - augment.cutout // 2
            cut = top <= y < top + augment.cutout and left <= x < left + augment.cutout
            if 0 <= from_y < height and 0 <= from_x < width and not cut:
                result[y, x] = image[from_y, from_x]
    return result


@pytest.mark.parametrize(
    "augment",
    [
        Augment(),
        Augment(shift=2),
        Augment(flip=True),
        Augment(cutout=3),
        Augment(shift=8),
        Augment(shift=2, flip=True, cutout=4),
        Augment(shift=2, border="reflect"),
        Augment(shift=5, flip=True, cutout=2, border="reflect"),
    ],
)
def test_a_batch_equals_its_images_one_by_one(augment):
    index = torch.tensor([3, 0, 0, 2, 1, 3] * 10)
    draws = augment.draw(len(index), SIZE, generator())
    batch = augment.take(IMAGES, index, draws)
    assert batch.dtype == torch.uint8
    for image, number, draw in zip(batch, index, draws.tolist(), strict=True):
        assert torch.equal(image, pixel_by_pixel(augment, IMAGES[number], draw))


def test_each_image_has_draws_of_its_own_over_the_whole_range():
    draws = Augment(shift=2, flip=True, cutout=1).draw(5000, SIZE, generator())
    down, right, mirrored, row, col = draws.unbind(1)
    for shift in (down, right):
        values, counts = shift.unique(return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        assert counts.min() > 0.8 * 1000
    assert 0.45 < mirrored.float().mean() < 0.55
    assert row.unique().tolist() == list(range(6))
    assert col.unique().tolist() == list(range(9))
    assert abs(torch.corrcoef(torch.stack([down, right]).float())[0, 1]) < 0.05


def test_draws_follow_the_generator():
    augment = Augment(shift=2, flip=True)
    same = [augment.draw(50, SIZE, generator(seed)) for seed in (1, 1, 2)]
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same[0], same[2])


def test_the_data_set_itself_is_left_alone():
    before = IMAGES.clone()
    augment = Augment(shift=2, cutout=3)
    index = torch.arange(4)
    augment.take(IMAGES, index, augment.draw(4, SIZE, generator()))
    Augment().take(IMAGES, index, torch.zeros(4, 5)).zero_()
    assert torch.equal(IMAGES, before)


def test_the_reflected_border_is_pytorchs():
    augment = Augment(shift=2, border="reflect")
    draws = torch.tensor([[2, -2, 0, 0, 0]])
    image = IMAGES[:1].permute(0, 3, 1, 2).float()
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2), mode="reflect")
    shifted = padded[:, :, 0:6, 4:13]  # down by 2, left by 2
    ours = augment.take(IMAGES, torch.tensor([0]), draws).permute(0, 3, 1, 2)
    assert torch.equal(ours.float(), shifted)


def test_views_are_those_that_training_shows():
    images = torch.rand(2, 3, 5, 4)
    assert [torch.equal(view, images) for view in Augment().views(images)] == [True]
    plain, mirrored = Augment(flip=True, cutout=2).views(images)
    assert torch.equal(mirrored, images.flip(3))
    assert torch.equal(plain, images)
    plain, down, up = Augment(shift=2).views(images)
    assert torch.equal(down[:, :, 1:, 1:], images[:, :, :-1, :-1])
    assert torch.equal(up[:, :, :-1, :-1], images[:, :, 1:, 1:])
    assert down.shape == up.shape == plain.shape
    assert len(list(Augment(shift=2, flip=True).views(images))) == 6
