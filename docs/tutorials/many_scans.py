"""
Many scans with one model
=========================

Learn a material once, then apply it to scans of other doses, backgrounds and places, where it is needed most: where a
scan is too small or too noisy to teach itself.
"""

import tempfile
from pathlib import Path

import numpy as np

import cyclestrain as cs

folder = Path(tempfile.mkdtemp())
cs.simulate("polycrystal", folder / "clear.h5", scan=(24, 24), background=0.2, seed=1)
cs.simulate("polycrystal", folder / "noisy.h5", scan=(16, 16), background=0.7, seed=2)

# %%
# ``fit`` learns dictionary and network. On the command line: ``cyclestrain fit clear.h5 -o model.safetensors``.

model = cs.fit(folder / "clear.h5", folder / "model.safetensors", epochs=2)
print(cs.info(folder / "model.safetensors"))

# %%
# Then each further scan is mapped with it: nothing is learned again, and the classes have the
# same numbers in every map.

maps = cs.map(folder / "noisy.h5", model=folder / "model.safetensors")
alone = cs.map(folder / "noisy.h5")
for name, result in (("with the model", maps), ("alone", alone)):
    print(
        f"{name}: {int(result.valid.sum())} of {result.valid.size} valid, "
        f"median sigma of exx {float(np.nanmedian(result.exx_sigma.where(result.valid))):.1e}"
    )

# %%
# A whole night goes into a folder, with a table of what became of each scan. On the command line:
# ``cyclestrain map night/*.mib -o maps/ --model model.safetensors``. A scan that cannot be mapped stops nobody, and the
# same command again does only what is missing.

batch = cs.map_many([folder / "clear.h5", folder / "noisy.h5"], folder / "maps", model=folder / "model.safetensors")
print(str(batch).replace(f"{folder}/", ""))
again = cs.map_many([folder / "clear.h5", folder / "noisy.h5"], folder / "maps", model=folder / "model.safetensors")
print([row.state for row in again.summaries])
