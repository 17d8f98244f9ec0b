// The machine behind device.h: a launch's threads as fibers, who runs next, who waits for whom.
#pragma once

#include "../common/device.cuh"
#include "fiber.h"
#include "races.h"

#include <string>
#include <vector>

namespace emulation {

constexpr uint32_t warp_size = 32;

struct Block;
struct Warp;

// An asynchronous copy under way: issued, not landed.
struct Copy {
    unsigned char* to;
    const unsigned char* from;
    uint32_t valid;
    uint32_t group;
    Site at;
    unsigned char seen[16];
};

// One thread of a block.
struct Lane {
    Place place;
    Fiber fiber;
    Warp* warp;
    bool ended;
    // What it waits in, null while it does not.
    const char* waits;
    Site at;
    // Asynchronous copies, oldest first, and the number of the group that is open.
    std::vector<Copy> copies;
    uint32_t group;
    // For races: who does its asynchronous copies, what has been issued, and closed groups, by their number.
    void** engine;
    races::Clock issued;
    races::Clock groups[16];
};

// What a lane brings to an operation of its warp, and takes from it.
struct Slot {
    uint32_t words[10];
    const bf16* row;
};

// What a barrier orders: what was done before it comes before what is done after. Clocks alternate: a thread may be at the next barrier while
// others have not left this one, and is at the one after that when all have.
struct Meeting {
    races::Clock clocks[2];
    uint32_t round;

    races::Clock& arrive() {
        races::Clock& clock = clocks[round % 2];
        races::release(clock);
        return clock;
    }
};

struct Warp {
    Block* block;
    Lane* lanes;
    // Lanes that could run now, by bit, and where the warp stands in Machine::ready while there are any.
    uint32_t ready;
    uint32_t ready_at;
    uint32_t arrived;
    // The first lane of those that have arrived.
    Lane* first;
    // Operations so far. Slots alternate: a lane may be in the next operation while others take their results.
    uint32_t round;
    Slot slots[2][warp_size];
    Meeting meeting;
};

struct Block {
    Warp* warps;
    uint32_t index;
    uint32_t arrived;
    unsigned char* shared;
    Meeting meeting;
};

// A launch, as it was asked for.
struct Launch {
    const Kernel* kernel;
    uint32_t blocks, threads, shared;
    bool cooperative;
    const void* parameter;
    uint64_t seed;
};

// Numbers for schedules (xorshift64*).
struct Dice {
    uint64_t state;
    uint32_t roll() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return static_cast<uint32_t>((state * 0x2545F4914F6CDD1Dull) >> 32);
    }
    uint32_t below(uint32_t n) { return static_cast<uint32_t>((uint64_t(roll()) * n) >> 32); }
};

class Machine {
public:
    ~Machine();

    // Run a launch. False with `error` set when the kernel did what a card would not stand for.
    bool run(const Launch& launch);
    std::string error;

    // The thread that runs, in the operations below.
    Lane& lane() { return *lane_; }
    const Launch& launch() const { return *launch_; }

    // Wait, in `operation`, until all lanes of the warp (all threads of the block, of the grid) do; true in
    // the last to come, which does what the operation does and then calls the matching release.
    bool arrive_warp(const char* operation, Site at);
    void release_warp();
    bool arrive_block(Site at);
    void release_block();
    bool arrive_grid(GridBarrier* barrier, Site at);
    void release_grid();
    // Let others go first, perhaps.
    void pause();
    // What grid barriers order.
    Meeting grid_meeting;

    // A barrier or a wait that kernels do as if it were not there: what the file's path ends in, line (0: none).
    struct {
        std::string file;
        int line = 0;
    } left_out;
    // The barriers and waits that launches have come to, once each, where they are wanted.
    bool lists_sites = false;
    std::vector<Site> sites;
    // Whether this one is left out.
    bool leaves_out(Site at);

    // Give the launch up.
    [[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 2, 3)));

private:
    static void body();
    bool run_waves(const Launch& launch);
    bool prepare_wave(uint32_t first, uint32_t count);
    bool schedule();
    bool check_shared();
    void describe_stuck();
    void make_ready(Lane& lane);
    void leave();
    void arrived_alike(Lane& first, const char* operation, Site at);
    void report(const char* format, ...) __attribute__((format(printf, 2, 3)));

    const Launch* launch_ = nullptr;
    Lane* lane_ = nullptr;
    Fiber scheduler_;
    Stacks stacks_;
    Dice dice_{1};
    // Of 256: how often the warp that ran last goes on when it can.
    uint32_t loyalty_ = 0;
    bool failed_ = false;
    std::vector<uint32_t> order_;
    std::vector<Lane> lanes_;
    std::vector<Warp> warps_;
    std::vector<Block> blocks_;
    // For races: ThreadSanitizer's fiber of each stack, and of its thread's copies, of two waves in turns; where the launch starts and ends.
    std::vector<void*> watched_, engines_;
    std::size_t waves_ = 0;
    races::Clock start_, end_;
    void destroy_watched();
    std::vector<Warp*> ready_;
    std::vector<unsigned char*> shared_;
    uint32_t in_flight_ = 0;
    uint32_t arrived_grid_ = 0;
    GridBarrier* grid_barrier_ = nullptr;
};

// The one whose launch runs on this thread of the operating system, null between launches.
extern thread_local Machine* machine __attribute__((tls_model("initial-exec")));

// From now on a fault in a kernel (an address that is nobody's) says where it was before the process ends.
void report_faults();

} // namespace emulation
