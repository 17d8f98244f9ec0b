// One block of simulated images: `events jets|muons --class signal|background --seed N --count N --data DIR --out FILE`,
// or a block of minimum-bias events for pile-up: `events pool ..`. tools/simulate/simulate calls it.
//
// A block depends on its options alone: a fresh Pythia, its own seed. What is written is in part.h.

#include <chrono>
#include <ctime>
#include <cstring>
#include <exception>
#include <iostream>
#include <memory>
#include <sstream>

#include "Pythia8/Pythia.h"

#include "calorimeter.h"
#include "image.h"
#include "jets.h"
#include "muons.h"
#include "part.h"

namespace {

std::string list(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "\"" : ", \"") + name + "\"";
    return "[" + text + "]";
}

// "FastJet version 3.5.2" without the words.
std::string version(const std::string& text) { return text.substr(text.rfind(' ') + 1); }

void run(const part::Options& o) {
    const auto start = std::chrono::steady_clock::now();
    // The path compiled into the library goes before the constructor's, this one before both.
    setenv("PYTHIA8DATA", o.data.c_str(), 1);
    Pythia8::Pythia pythia(o.data, false);
    pythia.readString("Print:quiet = on");
    pythia.readString("Random:setSeed = on");
    pythia.readString("Random:seed = " + std::to_string(o.seed));
    pythia.readString("Beams:eCM = 14000.");
    // The muons' pile-up and calorimeter have a random sequence of their own, apart from Pythia's.
    calorimeter::Random random(0x5341524d00000000ull + static_cast<std::uint64_t>(o.seed));
    std::unique_ptr<Study> study;
    if (o.study == "jets") study = std::make_unique<Jets>(pythia, o, random);
    else if (o.study == "muons") study = std::make_unique<Muons>(pythia, o, random);
    else study = std::make_unique<Pool>(pythia, random);
    if (!pythia.init()) throw std::runtime_error("Pythia did not start (it says why above)");
    const std::chrono::duration<double> ready = std::chrono::steady_clock::now() - start;

    part::Progress progress;
    std::vector<float> body;
    long done = 0, tried = 0, failed = 0, lost = 0;
    progress.at(0, true);
    while (done < o.count) {
        ++tried;
        if (!pythia.next()) {
            // Vetoed events do not come back as failures; a long row of failures is a broken installation.
            if (++failed > 1000 && failed > tried / 10) throw std::runtime_error("Pythia fails on most events");
            continue;
        }
        const long images = std::min<long>(study->event(tried, body), o.count - done);
        if (study->veto() && study->veto()->hopeless) lost += images;
        if (images > 0) progress.at(done += images);
    }
    // The last event may have made more than were left to make.
    if (o.study != "pool") body.resize(static_cast<std::size_t>(done) * (study->columns().size() + study->pixels()));
    const std::chrono::duration<double> all = std::chrono::steady_clock::now() - start;
    std::ostringstream header;
    header << "{\"format\": 1, \"count\": " << done << ", \"columns\": " << list(study->columns())
           << ", \"pixels\": " << study->pixels() << ", \"seed\": " << o.seed << ", \"tried\": " << tried
           << ", \"vetoed\": " << (study->veto() ? study->veto()->vetoed : 0) << ", \"would_lose\": " << lost << ", \"failed\": " << failed << ", \"seconds\": " << all.count()
           << ", \"cpu_seconds\": " << static_cast<double>(std::clock()) / CLOCKS_PER_SEC << ", \"init_seconds\": " << ready.count() << ", \"pythia\": \"" << std::fixed << std::setprecision(3)
           << pythia.settings.parm("Pythia:versionNumber") << "\", \"fastjet\": \"" << version(fastjet::fastjet_version_string()) << "\"}";
    part::write(o.out, header.str(), body);
    progress.at(done, true);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        run(part::parse(argc, argv));
    } catch (const std::exception& e) {
        std::cerr << "events: " << e.what() << std::endl;
        return 1;
    }
    return 0;
}
