// What the event program shares between studies: its command line, a part file, progress.

#ifndef SARM_SIMULATE_PART_H
#define SARM_SIMULATE_PART_H

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

namespace part {

struct Options {
    std::string study, type, data, out;
    std::vector<std::string> images{"rebinned"};
    std::vector<std::string> pool;
    int seed = 0;
    long count = 0;
    // Images that are made of one event.
    int repeat = 1;
    bool veto = true;
};

inline long number(const std::string& name, const std::string& text, long least, long most) {
    char* end = nullptr;
    const long value = std::strtol(text.c_str(), &end, 10);
    if (text.empty() || *end || value < least || value > most)
        throw std::runtime_error(name + " must be a whole number from " + std::to_string(least) + " to " +
                                 std::to_string(most) + ", not '" + text + "'");
    return value;
}

inline Options parse(int argc, char** argv) {
    Options o;
    if (argc < 2) throw std::runtime_error("no study named: jets, muons or pool");
    o.study = argv[1];
    for (int i = 2; i < argc; ++i) {
        const std::string name = argv[i];
        if (name == "--no-veto") {
            o.veto = false;
            continue;
        }
        if (i + 1 == argc) throw std::runtime_error(name + " needs a value");
        const std::string value = argv[++i];
        if (name == "--class") o.type = value;
        else if (name == "--image" && value == "both") o.images = {"rebinned", "interpolated"};
        else if (name == "--image") o.images = {value};
        else if (name == "--data") o.data = value;
        else if (name == "--out") o.out = value;
        else if (name == "--pool") o.pool.push_back(value);
        else if (name == "--seed") o.seed = static_cast<int>(number(name, value, 1, 900000000));
        else if (name == "--repeat") o.repeat = static_cast<int>(number(name, value, 1, 100));
        else if (name == "--count") o.count = number(name, value, 1, 1000000);
        else throw std::runtime_error("'" + name + "' is not understood");
    }
    if (o.study != "jets" && o.study != "muons" && o.study != "pool")
        throw std::runtime_error("there is no study '" + o.study + "' (jets, muons or pool)");
    if (o.study != "pool" && o.type != "signal" && o.type != "background")
        throw std::runtime_error("there is no class '" + o.type + "' (signal or background)");
    for (const std::string& image : o.images) {
        if (image != "rebinned" && image != "interpolated")
            throw std::runtime_error("there is no image '" + image + "' (rebinned, interpolated or both)");
    }
    if (o.seed == 0 || o.count == 0 || o.out.empty() || o.data.empty())
        throw std::runtime_error("--seed, --count, --data and --out are needed");
    if (o.study == "muons" && o.pool.empty()) throw std::runtime_error("muons need --pool");
    return o;
}

// Lines "progress N" on standard output, at most two a second: the driver reads them. A reader that is gone ends the
// program (SIGPIPE), so a killed driver leaves nothing running for long.
class Progress {
  public:
    void at(long done, bool always = false) {
        const auto now = std::chrono::steady_clock::now();
        if (!always && now - last_ < std::chrono::milliseconds(500)) return;
        last_ = now;
        std::printf("progress %ld\n", done);
        std::fflush(stdout);
    }

  private:
    std::chrono::steady_clock::time_point last_{};
};

// A file that appears whole: one line of JSON, then numbers, in the machine's byte order.
inline void write(const std::string& path, const std::string& header, const std::vector<float>& body) {
    const std::string partial = path + "." + std::to_string(getpid());
    FILE* file = std::fopen(partial.c_str(), "wb");
    const std::string line = header + "\n";
    bool good = file && std::fwrite(line.data(), 1, line.size(), file) == line.size() &&
                std::fwrite(body.data(), sizeof(float), body.size(), file) == body.size();
    if (file && std::fclose(file) != 0) good = false;
    if (!good || std::rename(partial.c_str(), path.c_str()) != 0) {
        std::remove(partial.c_str());
        throw std::runtime_error("cannot write '" + path + "' (disk full, or no such folder?)");
    }
}

inline std::vector<float> read(const std::string& path) {
    FILE* file = std::fopen(path.c_str(), "rb");
    if (!file) throw std::runtime_error("cannot read '" + path + "'");
    int c;
    while ((c = std::fgetc(file)) != EOF && c != '\n') {}
    std::vector<float> body;
    float block[4096];
    std::size_t n;
    while ((n = std::fread(block, sizeof(float), 4096, file)) > 0) body.insert(body.end(), block, block + n);
    std::fclose(file);
    return body;
}

}  // namespace part

#endif
