"""Copies the screens that the app's tests drew into ``docs/android``, at half their size."""

from PIL import Image

from android_demo.bundle import ROOT

SCREENS = (
    "start",
    "progress",
    "result",
    "zoomed",
    "saved",
    "error",
    "self_check",
    "start_dark_german",
    "result_dark_german",
    "result_wide",
)


def main():
    """Runs the command."""
    target = ROOT / "docs" / "android"
    target.mkdir(parents=True, exist_ok=True)
    for name in SCREENS:
        with Image.open(ROOT / "android_demo" / "build" / "screens" / f"{name}.png") as image:
            small = image.convert("RGB").resize((image.width // 2, image.height // 2))
            # 256 colours: a quarter of the size, and no difference that is seen.
            small.quantize(256).save(target / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
