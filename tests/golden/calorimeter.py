"""Writes calorimeter.json: observables and separation powers of made-up showers, by the definitions of the CaloChallenge.

Run: python3 tests/golden/calorimeter.py   (numpy 2.4.6; the tests do not need it)

Definitions: arXiv 2410.21611 and the challenge's HighLevelFeatures.py, evaluate.py at commit 9b41df7, written anew. Energies
in MeV, lengths in mm. Showers 1 and 2 of each sample are half and wholly empty.
"""

import json
import pathlib
import xml.etree.ElementTree

import numpy as np

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(20261129)


def layers(particle):
    root = xml.etree.ElementTree.parse(HERE / "calorimeter.xml").getroot()
    for layer in root.find(f"Bin[@name='{particle}']"):
        edges = np.array(layer.get("r_edges").split(","), float)
        if len(edges) > 1:
            yield int(layer.get("id")), edges, int(layer.get("n_bin_alpha"))


def showers(binning, energies):
    """Voxels fall off with the radius; three in four are empty; some are far softer than any readout."""
    radius = np.concatenate([np.tile((e[1:] + e[:-1]) / 2, a) for _, e, a in binning])
    share = rng.gamma(0.5, 1, (len(energies), len(radius))) * np.exp(-radius / 30) * (rng.random((len(energies), len(radius))) < 0.4)
    share /= share.sum(1, keepdims=True) + 1e-9
    out = share * energies[:, None] * rng.normal(0.98, 0.05, (len(energies), 1))
    out[1, : len(radius) // 2] = 0
    out[2] = 0
    return out.astype(np.float32)


def mean_and_width(x, energy):
    # 1e-16 MeV keeps an empty layer from being divided by.
    total = energy.sum(1) + 1e-16
    mean = (energy * x).sum(1) / total
    return mean, np.sqrt(np.clip((energy * x * x).sum(1) / total - mean**2, 0, None))


def features(binning, data):
    data = data.astype(float)
    found, first = {"total": data.sum(1)}, 0
    for number, edges, angles in binning:
        rings = len(edges) - 1
        energy = data[:, first : first + rings * angles]
        first += rings * angles
        r = np.tile((edges[1:] + edges[:-1]) / 2, angles)
        cuts = np.linspace(-np.pi, np.pi, angles + 1)
        alpha = np.repeat((cuts[1:] + cuts[:-1]) / 2, rings)
        layer = {"energy": energy.sum(1), "sparsity": 1.0 - (energy > 0).mean(1)}
        layer["centre_r"], layer["width_r"] = mean_and_width(r, energy)
        if angles > 1:
            layer["centre_eta"], layer["width_eta"] = mean_and_width(r * np.cos(alpha), energy)
            layer["centre_phi"], layer["width_phi"] = mean_and_width(r * np.sin(alpha), energy)
        found[number] = layer
    return found


def separation(truth, generated, edges):
    """0.5 sum (a - b)^2 / (a + b) of histograms scaled to 1: of what lies within the edges."""
    a, b = (np.histogram(x, edges, density=True)[0] * np.diff(edges) for x in (truth, generated))
    value = float(0.5 * ((a - b) ** 2 / (a + b + 1e-16)).sum())
    return value if np.isfinite(value) else None


def separations(particle, least, truth, generated, samples):
    def logarithmic(values, edges):
        ends = least, float(values.max())
        out = np.geomspace(*ends, edges)
        out[0], out[-1] = ends
        return out

    t, g = truth, generated
    (voxels, incident), (other_voxels, other_incident) = samples
    found = {
        "voxels": separation(voxels.ravel(), other_voxels.ravel(), logarithmic(voxels.astype(float), 50)),
        "energy_ratio": separation(t["total"] / incident, g["total"] / other_incident, np.linspace(0.5, 1.5, 101)),
    }
    for number in [k for k in t if k != "total"]:
        far, electron = number in (12, 13), particle == "electron"
        across, width = (30, 30) if electron else (500, 400) if far else (100, 100)
        radial, radial_width = (42, 20) if electron else (1500, 1500) if number in (12, 13, 14) else (500, 500)
        edges = {
            "energy": logarithmic(t[number]["energy"], 40),
            "sparsity": np.linspace(0, 1, 21),
            "centre_r": np.linspace(0, radial, 101),
            "width_r": np.linspace(0, radial_width, 101),
            "centre_eta": np.linspace(-across, across, 101),
            "centre_phi": np.linspace(-across, across, 101),
            "width_eta": np.linspace(0, width, 101),
            "width_phi": np.linspace(0, width, 101),
        }
        found[number] = {k: separation(t[number][k], g[number][k], edges[k]) for k in t[number]}
    return found


def case(particle, least):
    binning = list(layers(particle))
    samples = []
    for n in (25, 30):
        incident = (2.0 ** rng.integers(8, 13, n)).astype(np.float32)
        samples.append((showers(binning, incident), incident))
    cut = [np.where(voxels < np.float32(least), np.float32(0), voxels) for voxels, _ in samples]
    found = [features(binning, voxels) for voxels in cut]
    return {
        "particle": particle,
        "showers": [voxels.tolist() for voxels, _ in samples],
        "incident_energies": [incident.tolist() for _, incident in samples],
        "features": features(binning, samples[0][0]),
        "separation": separations(particle, least, *found, list(zip(cut, [i for _, i in samples]))),
    }


cases = [case("photon", 1.0), case("electron", 0.5e-3 / 0.033)]
with open(HERE / "calorimeter.json", "w") as file:
    json.dump(cases, file, default=lambda a: a.tolist())
    file.write("\n")
