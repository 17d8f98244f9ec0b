// A simple detector in place of Delphes: a solenoid, a calorimeter of coarse towers, pile-up. Needs neither Pythia nor
// FastJet. The numbers are those of Delphes' card `delphes_card_ATLAS_PileUp.tcl` (README.md lists them); the code is not.

#ifndef SARM_SIMULATE_CALORIMETER_H
#define SARM_SIMULATE_CALORIMETER_H

#include <cmath>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "image.h"

namespace calorimeter {

// splitmix64: the same numbers from every compiler and C++ library, which <random>'s distributions do not promise.
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    std::uint64_t bits() {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }
    // In (0, 1).
    double uniform() { return ((bits() >> 11) + 0.5) * 0x1p-53; }
    double uniform(double from, double to) { return from + (to - from) * uniform(); }
    std::uint64_t below(std::uint64_t n) { return static_cast<std::uint64_t>(uniform() * n); }
    double normal() {
        const double radius = std::sqrt(-2.0 * std::log(uniform()));
        return radius * std::cos(2.0 * image::pi * uniform());
    }
    // By products of uniform numbers: good for means up to some hundreds.
    int poisson(double mean) {
        const double limit = std::exp(-mean);
        int n = -1;
        for (double product = 1.0; product > limit || n < 0; ++n) product *= uniform();
        return n;
    }
    // Mean `mean` and standard deviation `sigma`, never negative: Delphes' smearing of energies.
    double log_normal(double mean, double sigma) {
        if (!(mean > 0.0)) return 0.0;
        const double width = std::sqrt(std::log1p(sigma * sigma / (mean * mean)));
        return mean * std::exp(width * normal() - 0.5 * width * width);
    }

  private:
    std::uint64_t state_;
};

// What a particle brings: energy in GeV and where it hits.
struct Hit {
    float eta, phi, ecal, hcal;
};

struct Particle {
    int id;
    double charge;         // in units of e
    double px, py, pz, e;  // GeV
    double x, y, z;        // where it began, m
};

constexpr double field = 2.0;         // T, along z
constexpr double radius = 1.15;       // m, of the solenoid and the calorimeter's inner side
constexpr double half_length = 3.51;  // m
constexpr double vertex_spread = 0.05, vertex_limit = 0.10;  // m, along the beam

inline double vertex(Random& random) {
    double z;
    do z = vertex_spread * random.normal();
    while (std::abs(z) > vertex_limit);
    return z;
}

// Fractions of a particle's energy that the electromagnetic and the hadronic calorimeter take.
inline std::pair<double, double> fractions(int id) {
    switch (std::abs(id)) {
        case 11: case 22: case 111: return {1.0, 0.0};
        case 12: case 13: case 14: case 16: return {0.0, 0.0};
        case 310: case 3122: return {0.3, 0.7};
        default: return {0.0, 1.0};
    }
}

// Where the particle leaves the cylinder of the field, as eta and phi seen from the detector's centre.
// False if it began outside, deposits nothing or never arrives.
inline bool propagate(const Particle& p, Hit& hit) {
    const auto [ecal, hcal] = fractions(p.id);
    const double pt = std::hypot(p.px, p.py);
    if (ecal + hcal == 0.0 || !(pt > 0.0) || std::hypot(p.x, p.y) >= radius || std::abs(p.z) >= half_length) return false;
    // Path lengths are measured in the transverse plane; z grows by pz / pt for each metre of it.
    const double slope = p.pz / pt;
    const double to_end = slope > 0.0 ? (half_length - p.z) / slope
                        : slope < 0.0 ? (-half_length - p.z) / slope : HUGE_VAL;
    const double ux = p.px / pt, uy = p.py / pt;
    double path, x, y;
    if (p.charge == 0.0) {
        const double along = p.x * ux + p.y * uy;
        path = -along + std::sqrt(along * along + radius * radius - p.x * p.x - p.y * p.y);
        path = std::min(path, to_end);
        x = p.x + path * ux;
        y = p.y + path * uy;
    } else {
        // A circle of radius `bend` about (cx, cy): a positive charge in a field along +z turns clockwise.
        const double bend = pt / (0.299792458 * std::abs(p.charge) * field), sign = p.charge > 0.0 ? -1.0 : 1.0;
        const double cx = p.x - sign * bend * uy, cy = p.y + sign * bend * ux, centre = std::hypot(cx, cy);
        const double begin = std::atan2(p.y - cy, p.x - cx);
        double turn = HUGE_VAL;
        if (centre + bend > radius && centre > 0.0) {
            // It crosses the cylinder where the direction from the circle's centre makes this angle with the line home.
            const double cosine = (radius * radius - centre * centre - bend * bend) / (2.0 * centre * bend);
            if (std::abs(cosine) <= 1.0) {
                const double outwards = std::atan2(cy, cx), spread = std::acos(cosine);
                for (const double angle : {outwards + spread, outwards - spread}) {
                    double t = std::fmod(sign * (angle - begin), 2.0 * image::pi);
                    if (t < 0.0) t += 2.0 * image::pi;
                    turn = std::min(turn, t);
                }
            }
        }
        path = std::min(turn * bend, to_end);
        if (!std::isfinite(path)) return false;
        x = cx + bend * std::cos(begin + sign * path / bend);
        y = cy + bend * std::sin(begin + sign * path / bend);
    }
    if (!std::isfinite(path)) return false;
    const double z = p.z + slope * path, r = std::hypot(x, y);
    if (!(r > 0.0)) return false;
    hit = {static_cast<float>(std::asinh(z / r)), static_cast<float>(std::atan2(y, x)), static_cast<float>(ecal * p.e),
           static_cast<float>(hcal * p.e)};
    return true;
}

// Standard deviation of an energy in GeV at pseudorapidity eta.
inline double ecal_sigma(double eta, double e) {
    return std::abs(eta) <= 3.2 ? std::sqrt(e * e * 0.0017 * 0.0017 + e * 0.101 * 0.101)
                                : std::sqrt(e * e * 0.035 * 0.035 + e * 0.285 * 0.285);
}
inline double hcal_sigma(double eta, double e) {
    eta = std::abs(eta);
    return eta <= 1.7 ? std::sqrt(e * e * 0.0302 * 0.0302 + e * 0.5205 * 0.5205 + 1.59 * 1.59)
         : eta <= 3.2 ? std::sqrt(e * e * 0.05 * 0.05 + e * 0.706 * 0.706)
                      : std::sqrt(e * e * 0.0942 * 0.0942 + e);
}
constexpr double ecal_min = 0.5, hcal_min = 1.0;  // GeV; a cell must also hold more than one standard deviation

// Towers: 0.1 x 10 degrees up to |eta| = 2.6, then 0.2 x 20 degrees up to 3.
struct Tower {
    int eta, phi;  // numbers; eta < 0 on the negative side
    double eta_from, eta_to, phi_from, phi_to;
};
inline bool tower_of(double eta, double phi, Tower& tower) {
    const double size = std::abs(eta);
    if (!(size < 3.0)) return false;
    const bool fine = size < 2.6;
    int number = fine ? static_cast<int>(size * 10.0) : 26 + static_cast<int>((size - 2.6) * 5.0);
    if (fine) number = std::min(number, 25);
    else number = std::min(number, 27);
    const double from = number < 26 ? 0.1 * number : 2.6 + 0.2 * (number - 26), to = from + (number < 26 ? 0.1 : 0.2);
    const double wide = (fine ? 10.0 : 20.0) * image::pi / 180.0;
    const int cells = fine ? 36 : 18;
    const int at = std::min(std::max(static_cast<int>(std::floor((image::wrap(phi) + image::pi) / wide)), 0), cells - 1);
    const bool negative = eta < 0.0;
    tower = {negative ? -1 - number : number, at, negative ? -to : from, negative ? -from : to, at * wide - image::pi,
             (at + 1) * wide - image::pi};
    return true;
}

// The towers that light up: energies summed, smeared, cut; each becomes a deposit of transverse energy somewhere in its
// tower, evenly distributed (Delphes' SmearTowerCenter).
inline std::vector<image::Deposit> respond(const std::vector<Hit>& hits, Random& random) {
    struct Sum {
        Tower tower;
        double ecal, hcal;
    };
    std::map<std::pair<int, int>, Sum> sums;  // ordered: random numbers are drawn in the towers' order
    for (const Hit& hit : hits) {
        Tower tower;
        if (!tower_of(hit.eta, hit.phi, tower)) continue;
        Sum& sum = sums.insert({{tower.eta, tower.phi}, {tower, 0.0, 0.0}}).first->second;
        sum.ecal += hit.ecal;
        sum.hcal += hit.hcal;
    }
    std::vector<image::Deposit> lit;
    for (const auto& [key, sum] : sums) {
        const Tower& t = sum.tower;
        const double middle = 0.5 * (t.eta_from + t.eta_to);
        double ecal = random.log_normal(sum.ecal, ecal_sigma(middle, sum.ecal));
        double hcal = random.log_normal(sum.hcal, hcal_sigma(middle, sum.hcal));
        if (ecal < ecal_min || ecal < ecal_sigma(middle, ecal)) ecal = 0.0;
        if (hcal < hcal_min || hcal < hcal_sigma(middle, hcal)) hcal = 0.0;
        const double eta = random.uniform(t.eta_from, t.eta_to), phi = random.uniform(t.phi_from, t.phi_to);
        if (ecal + hcal > 0.0) lit.push_back({eta, image::wrap(phi), (ecal + hcal) / std::cosh(eta)});
    }
    return lit;
}

}  // namespace calorimeter

#endif
