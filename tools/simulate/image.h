// Images of jets and of muons' surroundings: binning, centring, rotation, flip.
//
// Needs neither Pythia nor FastJet: tests/tools/simulate/image_test.cc compiles it alone.
//
// Conventions, those of `sarm::physics`: an image is row-major; eta grows with the column, phi falls with the row;
// pixel (r, c) of n x n over [-range, range]^2 has its centre at eta = (2c + 1 - n) range / n and
// phi = -(2r + 1 - n) range / n. Pixels are sums of transverse momentum (or energy) in GeV.

#ifndef SARM_SIMULATE_IMAGE_H
#define SARM_SIMULATE_IMAGE_H

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace image {

constexpr double pi = 3.14159265358979323846;

// An angle in (-pi, pi].
inline double wrap(double phi) {
    phi = std::remainder(phi, 2.0 * pi);
    return phi <= -pi ? pi : phi;
}

// A massless deposit: where it lies and its transverse momentum in GeV.
struct Deposit {
    double eta, phi, pt;
};

// An n x n image over [-range, range] in eta and phi.
struct Grid {
    int n;
    double range;

    double step() const { return 2.0 * range / n; }
    std::size_t pixels() const { return static_cast<std::size_t>(n) * n; }
    // The pixel of (eta, phi), or -1 outside. A point on an edge belongs to the column to its right, the row below it.
    int pixel(double eta, double phi) const {
        const double column = std::floor((eta + range) / step()), row = std::floor((range - phi) / step());
        if (!(column >= 0 && column < n && row >= 0 && row < n)) return -1;
        return static_cast<int>(row) * n + static_cast<int>(column);
    }
};

using Image = std::vector<double>;

// Sums of pt in each pixel; what lies outside is lost.
inline Image bin(const std::vector<Deposit>& deposits, const Grid& grid) {
    Image image(grid.pixels(), 0.0);
    for (const Deposit& d : deposits) {
        const int at = grid.pixel(d.eta, d.phi);
        if (at >= 0) image[at] += d.pt;
    }
    return image;
}

// Deposits relative to (eta, phi).
inline std::vector<Deposit> centred(std::vector<Deposit> deposits, double eta, double phi) {
    for (Deposit& d : deposits) {
        d.eta -= eta;
        d.phi = wrap(d.phi - phi);
    }
    return deposits;
}

// A turn of the (eta, phi) plane: cosine and sine of the angle, counter-clockwise with eta to the right and phi up.
struct Turn {
    double cosine, sine;
};

// The turn that puts direction (eta, phi) straight below the centre, on the negative phi axis.
inline Turn turn_down(double eta, double phi) {
    const double length = std::hypot(eta, phi);
    if (!(length > 0.0)) return {1.0, 0.0};
    return {-phi / length, -eta / length};
}

inline std::vector<Deposit> turned(std::vector<Deposit> deposits, const Turn& turn) {
    for (Deposit& d : deposits) {
        const double eta = turn.cosine * d.eta - turn.sine * d.phi;
        d.phi = turn.sine * d.eta + turn.cosine * d.phi;
        d.eta = eta;
    }
    return deposits;
}

// The principal axis of deposits about the origin, weighted with pt, towards the side that holds less pt: what stands in
// for the second subjet of a jet with one. (0, 0) if there is no axis.
inline Deposit principal_axis(const std::vector<Deposit>& deposits) {
    double ee = 0.0, ep = 0.0, pp = 0.0;
    for (const Deposit& d : deposits) {
        ee += d.pt * d.eta * d.eta;
        ep += d.pt * d.eta * d.phi;
        pp += d.pt * d.phi * d.phi;
    }
    if (!(ee + pp > 0.0)) return {0.0, 0.0, 0.0};
    const double angle = 0.5 * std::atan2(2.0 * ep, ee - pp);
    const double eta = std::cos(angle), phi = std::sin(angle);
    double along = 0.0;
    for (const Deposit& d : deposits) {
        const double side = d.eta * eta + d.phi * phi;
        along += side > 0.0 ? d.pt : side < 0.0 ? -d.pt : 0.0;
    }
    return along > 0.0 ? Deposit{-eta, -phi, 0.0} : Deposit{eta, phi, 0.0};
}

// Weights of the four neighbours at -1, 0, 1, 2 of a point between 0 and 1: cubic convolution with a = -1/2 (Keys 1981).
inline void cubic(double t, double weight[4]) {
    weight[0] = ((-0.5 * t + 1.0) * t - 0.5) * t;
    weight[1] = (1.5 * t - 2.5) * t * t + 1.0;
    weight[2] = ((-1.5 * t + 2.0) * t + 0.5) * t;
    weight[3] = (0.5 * t - 0.5) * t * t;
}

// The picture turned about its centre by bicubic interpolation; outside of the picture lie zeros, negative values become
// zero. Energies are not kept: they come out a few percent higher, as in the published jet images.
inline Image turned(const Image& image, int n, const Turn& turn) {
    Image out(image.size(), 0.0);
    const double middle = 0.5 * (n - 1);
    for (int row = 0; row < n; ++row) {
        for (int column = 0; column < n; ++column) {
            // Where the pixel comes from: the turn undone. y grows upwards, rows downwards.
            const double x = column - middle, y = middle - row;
            double c = middle + turn.cosine * x + turn.sine * y;
            double r = middle - (turn.cosine * y - turn.sine * x);
            // A quarter turn must hit pixels exactly in spite of rounding.
            if (std::abs(c - std::round(c)) < 1e-9) c = std::round(c);
            if (std::abs(r - std::round(r)) < 1e-9) r = std::round(r);
            const int c0 = static_cast<int>(std::floor(c)), r0 = static_cast<int>(std::floor(r));
            double along[4], down[4], sum = 0.0;
            cubic(c - c0, along);
            cubic(r - r0, down);
            for (int i = 0; i < 4; ++i) {
                const int from = r0 - 1 + i;
                if (from < 0 || from >= n) continue;
                for (int j = 0; j < 4; ++j) {
                    const int at = c0 - 1 + j;
                    if (at >= 0 && at < n) sum += down[i] * along[j] * image[static_cast<std::size_t>(from) * n + at];
                }
            }
            out[static_cast<std::size_t>(row) * n + column] = std::max(sum, 0.0);
        }
    }
    return out;
}

// Mirrored left to right if the left half holds more than the right one; the middle column of an odd n counts for neither.
inline void flip_to_right(Image& image, int n) {
    double left = 0.0, right = 0.0;
    for (int row = 0; row < n; ++row) {
        for (int column = 0; column < n / 2; ++column) {
            left += image[static_cast<std::size_t>(row) * n + column];
            right += image[static_cast<std::size_t>(row) * n + n - 1 - column];
        }
    }
    if (left <= right) return;
    for (int row = 0; row < n; ++row) {
        const auto start = image.begin() + static_cast<std::ptrdiff_t>(row) * n;
        std::reverse(start, start + n);
    }
}

// Pixels below `threshold` GeV become zero.
inline void cut(Image& image, double threshold) {
    for (double& pixel : image) {
        if (!(pixel >= threshold)) pixel = 0.0;
    }
}

// How a jet's picture is turned.
enum class Rotation {
    rebinned,      // the deposits are turned, then binned: energies exact
    interpolated,  // binned first, then the picture is turned: the way of the published jet images
};

// The image of a jet: its leading subjet at the centre, the second straight below (without one, the side of the principal
// axis that holds less), flipped so that the right side holds more.
inline Image of_jet(const std::vector<Deposit>& towers, const Deposit& leading, const Deposit* second, const Grid& grid,
                    Rotation rotation, double threshold) {
    const std::vector<Deposit> about = centred(towers, leading.eta, leading.phi);
    const Deposit axis = second ? Deposit{second->eta - leading.eta, wrap(second->phi - leading.phi), 0.0}
                                : principal_axis(about);
    const Turn turn = turn_down(axis.eta, axis.phi);
    Image image = rotation == Rotation::rebinned ? bin(turned(about, turn), grid)
                                                 : turned(bin(about, grid), grid.n, turn);
    flip_to_right(image, grid.n);
    cut(image, threshold);
    return image;
}

}  // namespace image

#endif
