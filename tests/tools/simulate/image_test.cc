// Hand-computed cases of tools/simulate/image.h and calorimeter.h; tests/tools/simulate.rs compiles and runs this.
//
//     image_test                 run all; prints what failed, exit code 1 if anything did
//     image_test pixel N RANGE   reads "eta phi" lines, prints the pixel of each on a grid of N x N over [-RANGE, RANGE]^2

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "calorimeter.h"
#include "image.h"

namespace {

int failures = 0, checks = 0;

void check(bool good, const char* what, int line) {
    ++checks;
    if (!good) {
        ++failures;
        std::printf("line %d: %s\n", line, what);
    }
}
#define CHECK(condition) check((condition), #condition, __LINE__)

bool near(double a, double b, double tolerance = 1e-12) { return std::abs(a - b) <= tolerance; }
double sum(const image::Image& i) { return std::accumulate(i.begin(), i.end(), 0.0); }
const image::Grid jet{25, 1.25};

void binning() {
    const auto one = image::bin({{0.0, 0.0, 3.0}}, jet);
    CHECK(one[12 * 25 + 12] == 3.0 && sum(one) == 3.0);
    // eta grows with the column, phi falls with the row.
    CHECK(image::bin({{-1.2, 1.2, 1.0}}, jet)[0] == 1.0);
    CHECK(image::bin({{1.2, 1.2, 1.0}}, jet)[24] == 1.0);
    CHECK(image::bin({{-1.2, -1.2, 1.0}}, jet)[24 * 25] == 1.0);
    CHECK(image::bin({{0.3, 0.1, 1.0}}, jet)[11 * 25 + 15] == 1.0);
    // Sums, and what lies outside is lost.
    CHECK(sum(image::bin({{0.31, 0.1, 1.0}, {0.29, 0.1, 2.0}, {1.26, 0.0, 4.0}, {0.0, -1.26, 8.0}}, jet)) == 3.0);
    // An even grid has no pixel at the centre; a point on an edge goes right and down.
    CHECK((image::Grid{32, 0.4}.pixel(0.0, 0.0) == 16 * 32 + 16));
    CHECK((image::Grid{32, 0.4}.pixel(-0.0125, 0.0125) == 15 * 32 + 15));
    CHECK((image::Grid{32, 0.4}.pixel(0.4, 0.0) == -1));
    CHECK(near(image::wrap(3.0 * image::pi), image::pi) && near(image::wrap(-image::pi), image::pi) && near(image::wrap(-7.0), 2.0 * image::pi - 7.0));
}

void turning() {
    for (int degrees = 0; degrees < 360; degrees += 15) {
        const double angle = degrees * image::pi / 180.0;
        const double eta = 0.7 * std::cos(angle), phi = 0.7 * std::sin(angle);
        const auto turn = image::turn_down(eta, phi);
        const auto there = image::turned({{eta, phi, 1.0}}, turn)[0];
        CHECK(near(there.eta, 0.0) && near(there.phi, -0.7));
        // A rotation, no reflection: what lay a quarter turn counter-clockwise of it lies there still, to the right.
        const auto beside = image::turned({{-phi, eta, 1.0}}, turn)[0];
        CHECK(near(beside.eta, 0.7) && near(beside.phi, 0.0));
    }
    const auto still = image::turn_down(0.0, 0.0);
    CHECK(still.cosine == 1.0 && still.sine == 0.0);
    const auto across = image::centred({{0.5, 3.1, 1.0}}, 0.1, -3.1)[0];
    CHECK(near(across.eta, 0.4) && near(across.phi, 6.2 - 2.0 * image::pi));
}

void jets() {
    // Leading subjet at (0.5, 3.0), second 0.4 away across the seam of phi, something soft on one side.
    const image::Deposit first{0.5, 3.0, 0.0}, second{0.5, 3.4 - 2.0 * image::pi, 0.0};
    const std::vector<image::Deposit> towers{{0.5, 3.0, 100.0}, {0.5, 3.4 - 2.0 * image::pi, 50.0}, {0.8, 3.0, 10.0}};
    const auto picture = image::of_jet(towers, first, &second, jet, image::Rotation::rebinned, 1e-3);
    CHECK(picture[12 * 25 + 12] == 100.0);
    CHECK(picture[16 * 25 + 12] == 50.0);
    // Turned by half a turn it lies at eta' = -0.3, flipped to +0.3.
    CHECK(picture[12 * 25 + 15] == 10.0);
    CHECK(sum(picture) == 160.0);
    // Half a turn moves pixels onto pixels: interpolation is exact too.
    const auto turned = image::of_jet(towers, first, &second, jet, image::Rotation::interpolated, 1e-3);
    for (std::size_t i = 0; i < turned.size(); ++i) CHECK(near(turned[i], picture[i], 1e-9));
    // Any direction of the second subjet: energies kept when re-binned.
    for (int degrees = 0; degrees < 360; degrees += 7) {
        const double angle = degrees * image::pi / 180.0;
        const image::Deposit other{0.5 + 0.42 * std::cos(angle), 3.0 + 0.42 * std::sin(angle), 0.0};
        const std::vector<image::Deposit> two{{0.5, 3.0, 100.0}, {other.eta, image::wrap(other.phi), 50.0}};
        const auto p = image::of_jet(two, first, &other, jet, image::Rotation::rebinned, 1e-3);
        CHECK(p[12 * 25 + 12] == 100.0 && p[16 * 25 + 12] == 50.0);
    }
    // One subjet: the principal axis lies upright, its side with less below.
    const std::vector<image::Deposit> alone{{0.5, 0.0, 20.0}, {0.9, 0.0, 3.0}, {0.1, 0.0, 5.0}};
    const auto axis = image::of_jet(alone, {0.5, 0.0, 0.0}, nullptr, jet, image::Rotation::rebinned, 1e-3);
    CHECK(axis[12 * 25 + 12] == 20.0 && axis[16 * 25 + 12] == 3.0 && axis[8 * 25 + 12] == 5.0);
    const auto point = image::of_jet({{0.5, 0.0, 20.0}}, {0.5, 0.0, 0.0}, nullptr, jet, image::Rotation::interpolated, 1e-3);
    CHECK(point[12 * 25 + 12] == 20.0 && sum(point) == 20.0);
}

void interpolation() {
    image::Image picture(25);
    std::iota(picture.begin(), picture.end(), 1.0);
    CHECK(image::turned(picture, 5, {1.0, 0.0}) == picture);
    // A quarter turn counter-clockwise: the right column becomes the top row.
    const double right = image::pi / 2.0;
    const auto quarter = image::turned(picture, 5, {std::cos(right), std::sin(right)});
    for (int row = 0; row < 5; ++row) {
        for (int column = 0; column < 5; ++column) CHECK(quarter[row * 5 + column] == picture[column * 5 + 4 - row]);
    }
    const auto even = image::turned({1.0, 2.0, 3.0, 4.0}, 2, {0.0, 1.0});
    CHECK((even == image::Image{2.0, 4.0, 1.0, 3.0}));
    // The turn of a picture is the turn of deposits.
    const auto turn = image::turn_down(0.3, 0.0);
    const auto a = image::turned(image::bin({{0.3, 0.0, 1.0}}, jet), 25, turn);
    const auto b = image::bin(image::turned({{0.3, 0.0, 1.0}}, turn), jet);
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(near(a[i], b[i]));

    double w[4];
    image::cubic(0.0, w);
    CHECK(w[0] == 0.0 && w[1] == 1.0 && w[2] == 0.0 && w[3] == 0.0);
    image::cubic(0.5, w);
    CHECK(w[0] == -0.0625 && w[1] == 0.5625 && w[2] == 0.5625 && w[3] == -0.0625);
    for (double t = 0.0; t < 1.0; t += 0.1) {
        image::cubic(t, w);
        CHECK(near(w[0] + w[1] + w[2] + w[3], 1.0));
    }
    // An eighth of a turn of one pixel: the neighbour reads it at a distance of sqrt(1/2) both ways,
    // where the kernel is (3/2) d^3 - (5/2) d^2 + 1 = 0.280330, squared 0.078585.
    image::Image point(25, 0.0);
    point[12] = 1.0;
    const auto eighth = image::turned(point, 5, {std::sqrt(0.5), std::sqrt(0.5)});
    CHECK(near(eighth[12], 1.0) && near(eighth[13], 0.0785849, 1e-6) && near(eighth[7], 0.0785849, 1e-6));
    // The diagonal neighbour reads it at distances sqrt(2) and 0: -(1/2) d^3 + (5/2) d^2 - 4 d + 2 = -0.071068, cut to 0.
    CHECK(eighth[6] == 0.0 && eighth[18] == 0.0);
}

void flipping() {
    image::Image left{5.0, 1.0, 2.0, 0.0, 7.0, 1.0, 0.0, 0.0, 0.0};
    image::flip_to_right(left, 3);
    CHECK((left == image::Image{2.0, 1.0, 5.0, 1.0, 7.0, 0.0, 0.0, 0.0, 0.0}));
    const image::Image kept = left;
    image::flip_to_right(left, 3);
    CHECK(left == kept);
    image::Image tie{1.0, 9.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
    image::flip_to_right(tie, 3);
    CHECK(tie[0] == 1.0 && tie[2] == 1.0);
    image::cut(left, 1.5);
    CHECK((left == image::Image{2.0, 0.0, 5.0, 0.0, 7.0, 0.0, 0.0, 0.0, 0.0}));
}

void detector() {
    using namespace calorimeter;
    Hit hit{};
    // Neutral, from the centre: its own direction.
    CHECK(propagate({22, 0.0, 3.0, 4.0, 5.0, std::sqrt(50.0), 0.0, 0.0, 0.0}, hit));
    CHECK(near(hit.eta, std::asinh(1.0), 1e-6) && near(hit.phi, std::atan2(4.0, 3.0), 1e-6));
    CHECK(near(hit.ecal, std::sqrt(50.0), 1e-5) && hit.hcal == 0.0f);
    // From 0.1 m along the beam, straight out: z / r = 0.1 / 1.15.
    CHECK(propagate({130, 0.0, 1.0, 0.0, 0.0, 1.1, 0.0, 0.0, 0.1}, hit));
    CHECK(near(hit.eta, std::asinh(0.1 / 1.15), 1e-6) && hit.ecal == 0.0f && near(hit.hcal, 1.1, 1e-6));
    // Forward: leaves through the end of the cylinder, in its own direction as well.
    CHECK(propagate({22, 0.0, 1.0, 0.0, 10.0, 10.05, 0.0, 0.0, 0.0}, hit) && near(hit.eta, std::asinh(10.0), 1e-5));
    // Charged: a chord of 1.15 m on a circle of pt / (0.29979 * 2) m. A positive charge turns clockwise.
    const double angle = std::asin(0.5 * 1.15 * 0.299792458 * 2.0 / 10.0);
    CHECK(propagate({211, 1.0, 10.0, 0.0, 0.0, 10.0, 0.0, 0.0, 0.0}, hit) && near(hit.phi, -angle, 1e-6));
    CHECK(propagate({-211, -1.0, 10.0, 0.0, 0.0, 10.0, 0.0, 0.0, 0.0}, hit) && near(hit.phi, angle, 1e-6));
    CHECK(near(hit.eta, 0.0, 1e-6));
    // Along the beam it gains slope times the arc: bend * 2 angle.
    CHECK(propagate({211, 1.0, 10.0, 0.0, 10.0, 15.0, 0.0, 0.0, 0.0}, hit));
    CHECK(near(hit.eta, std::asinh(10.0 / (0.299792458 * 2.0) * 2.0 * angle / 1.15), 1e-5));
    // Below 0.3448 GeV it curls up and leaves through an end; without slope it never arrives.
    CHECK(!propagate({211, 1.0, 0.34, 0.0, 0.0, 0.4, 0.0, 0.0, 0.0}, hit));
    CHECK(propagate({211, 1.0, 0.35, 0.0, 0.0, 0.4, 0.0, 0.0, 0.0}, hit));
    CHECK(propagate({211, 1.0, 0.34, 0.0, 0.1, 0.4, 0.0, 0.0, 0.0}, hit) && std::abs(hit.eta) > std::asinh(3.51 / 1.15));
    // Muons and neutrinos leave nothing; what begins outside is not seen.
    CHECK(!propagate({13, -1.0, 10.0, 0.0, 0.0, 10.0, 0.0, 0.0, 0.0}, hit));
    CHECK(!propagate({14, 0.0, 10.0, 0.0, 0.0, 10.0, 0.0, 0.0, 0.0}, hit));
    CHECK(!propagate({22, 0.0, 10.0, 0.0, 0.0, 10.0, 1.2, 0.0, 0.0}, hit));

    Tower t;
    CHECK(tower_of(0.05, 0.01, t) && t.eta == 0 && near(t.eta_from, 0.0) && near(t.eta_to, 0.1));
    CHECK(t.phi == 18 && near(t.phi_from, 0.0) && near(t.phi_to, image::pi / 18.0));
    CHECK(tower_of(-0.05, 0.01, t) && t.eta == -1 && near(t.eta_from, -0.1) && near(t.eta_to, 0.0));
    CHECK(tower_of(2.7, -3.0, t) && near(t.eta_from, 2.6) && near(t.eta_to, 2.8) && near(t.phi_to - t.phi_from, image::pi / 9.0));
    CHECK(!tower_of(3.0, 0.0, t) && tower_of(-2.99, image::pi, t) && t.phi == 17);

    Random random(1);
    CHECK(respond({{0.05f, 0.05f, 0.2f, 0.0f}}, random).empty());  // 0.2 GeV of light is below 0.5
    CHECK(respond({{0.05f, 0.05f, 0.0f, 0.3f}}, random).size() <= 1);
    double total = 0.0, square = 0.0;
    const int n = 20000;
    for (int i = 0; i < n; ++i) {
        const auto lit = respond({{0.05f, 0.05f, 10.0f, 0.0f}, {0.06f, 0.05f, 6.0f, 0.0f}}, random);
        if (lit.size() != 1 || !(lit[0].eta >= 0.0 && lit[0].eta <= 0.1 && lit[0].phi >= 0.0 && lit[0].phi <= 0.1746)) {
            CHECK(false);
            break;
        }
        const double e = lit[0].pt * std::cosh(lit[0].eta);
        total += e / n;
        square += e * e / n;
    }
    // 16 GeV with sigma = hypot(0.101 * 4, 0.0017 * 16) = 0.4049; the mean of 20 000 is good to 0.003.
    CHECK(near(total, 16.0, 0.015) && near(std::sqrt(square - total * total), 0.4049, 0.01));

    double mean = 0.0, spread = 0.0;
    for (int i = 0; i < n; ++i) {
        const int k = random.poisson(50.0);
        mean += double(k) / n;
        spread += double(k) * k / n;
    }
    CHECK(near(mean, 50.0, 0.25) && near(spread - mean * mean, 50.0, 2.5));
    double widest = 0.0, variance = 0.0;
    for (int i = 0; i < n; ++i) {
        const double z = vertex(random);
        widest = std::max(widest, std::abs(z));
        variance += z * z / n;
    }
    // A normal distribution cut at two standard deviations keeps 0.880 of its width.
    CHECK(widest <= 0.1 && near(std::sqrt(variance), 0.05 * 0.8796, 0.001));
    // splitmix64's published first outputs for seed 0.
    Random zero(0);
    CHECK(zero.bits() == 0xe220a8397b1dcdafull && zero.bits() == 0x6e789e6aa1b965f4ull);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 4 && std::strcmp(argv[1], "pixel") == 0) {
        const image::Grid grid{std::atoi(argv[2]), std::atof(argv[3])};
        double eta, phi;
        while (std::scanf("%lf %lf", &eta, &phi) == 2) std::printf("%d\n", grid.pixel(eta, phi));
        return 0;
    }
    binning();
    turning();
    jets();
    interpolation();
    flipping();
    detector();
    std::printf("%d checks, %d failed\n", checks, failures);
    return failures ? 1 : 0;
}
