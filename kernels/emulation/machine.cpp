#include "machine.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>

namespace emulation {

thread_local const Place* here __attribute__((tls_model("initial-exec"))) = nullptr;
thread_local Machine* machine __attribute__((tls_model("initial-exec"))) = nullptr;

namespace {

// What memory holds before it is written: a NaN in bf16 and in float, and a large number as an integer.
constexpr int poison = 0xFF;
// After shared memory where no sanitizer watches: what a write past the end changes.
constexpr int guard = 0xA5;
constexpr std::size_t guard_size = SARM_EMULATION_ASAN ? 0 : 512;
// Turns of threads after which a launch is taken for endless: minutes.
constexpr uint64_t most_turns = 1ull << 33;

bool same(Site a, Site b) { return a.line == b.line && std::strcmp(a.file, b.file) == 0; }

} // namespace

Machine::~Machine() {
    destroy_watched();
    for (unsigned char* memory : shared_) std::free(memory);
}

void Machine::destroy_watched() {
    for (void* fiber : watched_) races::destroy(fiber);
    for (void* fiber : engines_) {
        if (fiber != nullptr) races::destroy(fiber);
    }
    watched_.clear();
    engines_.clear();
}

bool Machine::run(const Launch& launch) {
    report_faults();
    machine = this;
    scheduler_.watched = races::current();
    races::release(start_);
    const bool ran = run_waves(launch);
    races::acquire(end_);
    if (!ran) stacks_.abandon();
    machine = nullptr;
    return ran;
}

bool Machine::run_waves(const Launch& launch) {
    launch_ = &launch;
    failed_ = false;
    error.clear();
    dice_.state = launch.seed * 0x9E3779B97F4A7C15ull + 0x5851F42D4C957F2Dull;
    if (dice_.state == 0) dice_.state = 1;
    for (int i = 0; i < 4; ++i) dice_.roll();
    // Schedules of three kinds: warps that run as far as they can, warps in turns, and between.
    const uint32_t loyalties[] = {256, 224, 0};
    loyalty_ = loyalties[dice_.below(3)];
    order_.resize(launch.blocks);
    for (uint32_t i = 0; i < launch.blocks; ++i) {
        const uint32_t j = dice_.below(i + 1);
        order_[i] = order_[j];
        order_[j] = i;
    }
    for (uint32_t first = 0; first < launch.blocks;) {
        // Now and then blocks share the machine, as they do on a card.
        uint32_t count = dice_.below(2) == 0 ? 1 : 1 + dice_.below(3);
        // Races do not depend on which blocks run together, and looking for them takes time by the number of fibers.
        if (races::watched) count = 1;
        if (launch.cooperative) count = launch.blocks;
        count = std::min(count, launch.blocks - first);
        if (!prepare_wave(first, count) || !schedule() || !check_shared()) return false;
        first += count;
    }
    return true;
}

// Threads of `count` blocks, all of them able to run.
bool Machine::prepare_wave(uint32_t first, uint32_t count) {
    const races::Unseen unseen;
    const uint32_t threads = launch_->threads, warps = threads / warp_size;
    const std::size_t lanes = std::size_t(count) * threads;
    // A fiber knows what came before it on the same stack, and at barriers hears it of others. Threads of a block are therefore not those of the
    // block before.
    const std::size_t sets = races::watched ? 2 : 1;
    if (!stacks_.reserve(sets * lanes)) {
        report("no memory for the stacks of %zu threads", lanes);
        return false;
    }
    if (races::watched) {
        // New clocks: old ones would order blocks one after the other.
        lanes_ = std::vector<Lane>(lanes);
        warps_ = std::vector<Warp>(count * warps);
        blocks_ = std::vector<Block>(count);
        while (watched_.size() < sets * lanes) watched_.push_back(races::create());
        engines_.resize(watched_.size());
        ++waves_;
    }
    if (lanes_.size() < lanes) lanes_.resize(lanes);
    if (warps_.size() < count * warps) warps_.resize(count * warps);
    if (blocks_.size() < count) blocks_.resize(count);
    for (unsigned char* memory : shared_) std::free(memory);
    shared_.assign(count, nullptr);
    ready_.clear();
    in_flight_ = static_cast<uint32_t>(lanes);
    arrived_grid_ = 0;
    grid_barrier_ = nullptr;
    for (uint32_t b = 0; b < count; ++b) {
        void* memory = nullptr;
        if (posix_memalign(&memory, 128, launch_->shared + guard_size) != 0) {
            report("no memory for the shared memory of a block");
            return false;
        }
        shared_[b] = static_cast<unsigned char*>(memory);
        std::memset(memory, poison, launch_->shared);
        std::memset(shared_[b] + launch_->shared, guard, guard_size);
        Block& block = blocks_[b];
        block.warps = &warps_[b * warps];
        block.index = order_[first + b];
        block.arrived = 0;
        block.shared = shared_[b];
        for (uint32_t w = 0; w < warps; ++w) {
            Warp& warp = block.warps[w];
            warp.block = &block;
            warp.lanes = &lanes_[b * threads + w * warp_size];
            warp.ready = 0;
            warp.arrived = 0;
            warp.round = 0;
            for (uint32_t l = 0; l < warp_size; ++l) {
                Lane& lane = warp.lanes[l];
                const uint32_t thread = w * warp_size + l;
                lane.place = {thread, block.index, launch_->blocks, threads, block.shared};
                lane.warp = &warp;
                lane.ended = false;
                lane.waits = nullptr;
                lane.copies.clear();
                lane.group = 0;
                std::size_t number = b * threads + thread;
                if (races::watched) {
                    number = 2 * ((number + 97 * (waves_ / 2)) % lanes) + waves_ % 2;
                    lane.fiber.watched = watched_[number];
                    lane.engine = &engines_[number];
                }
                lane.fiber.stack = stacks_.stack(number);
                lane.fiber.size = Stacks::size();
                // The tops of stacks are what caches hold: not all in the same lines of them.
                prepare(lane.fiber, &Machine::body, (number % 32) * 192);
                make_ready(lane);
            }
        }
    }
    return true;
}

void Machine::make_ready(Lane& lane) {
    Warp& warp = *lane.warp;
    if (warp.ready == 0) {
        warp.ready_at = static_cast<uint32_t>(ready_.size());
        ready_.push_back(&warp);
    }
    warp.ready |= 1u << (&lane - warp.lanes);
}

bool Machine::schedule() {
    Warp* warp = nullptr;
    uint64_t turns = 0;
    while (!ready_.empty()) {
        if (++turns > most_turns) {
            report("the kernel does not end: its threads have waited for each other %llu times", static_cast<unsigned long long>(turns));
            return false;
        }
        if (warp == nullptr || warp->ready == 0 || dice_.below(256) >= loyalty_) {
            warp = ready_[dice_.below(static_cast<uint32_t>(ready_.size()))];
        }
        // A lane that is ready, from a random place on.
        const uint32_t turn = dice_.below(warp_size);
        const uint32_t turned = warp->ready >> turn | (turn == 0 ? 0 : warp->ready << (warp_size - turn));
        const uint32_t index = (static_cast<uint32_t>(__builtin_ctz(turned)) + turn) % warp_size;
        warp->ready &= ~(1u << index);
        if (warp->ready == 0) {
            ready_[warp->ready_at] = ready_.back();
            ready_[warp->ready_at]->ready_at = warp->ready_at;
            ready_.pop_back();
        }
        lane_ = &warp->lanes[index];
        here = &lane_->place;
        switch_fiber(scheduler_, lane_->fiber);
        if (failed_) return false;
    }
    if (in_flight_ == 0) return true;
    describe_stuck();
    return false;
}

// What a fiber runs.
void Machine::body() {
    entered(machine->scheduler_);
    races::acquire(machine->start_);
    machine->launch_->kernel->body(machine->launch_->parameter);
    Lane& lane = *machine->lane_;
    if (!lane.copies.empty()) {
        const Copy& copy = lane.copies.front();
        machine->fail("thread %u of block %u ends while its asynchronous copy of %s:%d is under way (no wait for it)",
                     lane.place.thread, lane.place.block, copy.at.name(), copy.at.line);
    }
    races::release(machine->end_);
    lane.ended = true;
    --machine->in_flight_;
    machine->leave();
    std::abort();
}

void Machine::leave() { switch_fiber(lane_->fiber, scheduler_); }

bool Machine::leaves_out(Site at) {
    if (lists_sites) {
        const auto known = [&](const Site& site) { return same(site, at); };
        if (std::none_of(sites.begin(), sites.end(), known)) sites.push_back(at);
    }
    if (left_out.line != at.line) return false;
    const std::string file = at.file;
    const std::string& end = left_out.file;
    return file.size() >= end.size() && file.compare(file.size() - end.size(), end.size(), end) == 0;
}

void Machine::arrived_alike(Lane& first, const char* operation, Site at) {
    if (std::strcmp(first.waits, operation) == 0 && same(first.at, at)) return;
    fail("threads of one %s meet in different operations: thread %u in %s at %s:%d, thread %u in %s at %s:%d (block %u)",
         first.warp == lane_->warp ? "warp" : "block", first.place.thread, first.waits, first.at.name(),
         first.at.line, lane_->place.thread, operation, at.name(), at.line, lane_->place.block);
}

bool Machine::arrive_warp(const char* operation, Site at) {
    Lane& lane = *lane_;
    Warp& warp = *lane.warp;
    if (warp.arrived == 0) {
        warp.first = &lane;
    } else {
        arrived_alike(*warp.first, operation, at);
    }
    lane.waits = operation;
    lane.at = at;
    if (++warp.arrived == warp_size) return true;
    leave();
    return false;
}

void Machine::release_warp() {
    Warp& warp = *lane_->warp;
    warp.arrived = 0;
    ++warp.round;
    for (uint32_t l = 0; l < warp_size; ++l) {
        warp.lanes[l].waits = nullptr;
        make_ready(warp.lanes[l]);
    }
    leave();
}

bool Machine::arrive_block(Site at) {
    Lane& lane = *lane_;
    Block& block = *lane.warp->block;
    lane.waits = "block_barrier";
    lane.at = at;
    if (++block.arrived == launch_->threads) return true;
    leave();
    return false;
}

void Machine::release_block() {
    Block& block = *lane_->warp->block;
    Lane* lanes = block.warps[0].lanes;
    block.arrived = 0;
    for (uint32_t t = 0; t < launch_->threads; ++t) {
        arrived_alike(lanes[t], "block_barrier", lane_->at);
    }
    for (uint32_t t = 0; t < launch_->threads; ++t) {
        lanes[t].waits = nullptr;
        make_ready(lanes[t]);
    }
    leave();
}

bool Machine::arrive_grid(GridBarrier* barrier, Site at) {
    if (!launch_->cooperative) {
        fail("grid_barrier at %s:%d in a launch that is not cooperative", at.name(), at.line);
    }
    if (grid_barrier_ != nullptr && barrier != grid_barrier_) {
        fail("threads of one grid meet at different grid barriers (%s:%d)", at.name(), at.line);
    }
    grid_barrier_ = barrier;
    lane_->waits = "grid_barrier";
    lane_->at = at;
    if (++arrived_grid_ == launch_->blocks * launch_->threads) return true;
    leave();
    return false;
}

void Machine::release_grid() {
    const Site at = lane_->at;
    const uint32_t lanes = launch_->blocks * launch_->threads;
    if (grid_barrier_->arrived != 0) {
        fail("the grid barrier of %s:%d did not start as zeros", at.name(), at.line);
    }
    ++grid_barrier_->phase;
    arrived_grid_ = 0;
    grid_barrier_ = nullptr;
    for (uint32_t t = 0; t < lanes; ++t) {
        arrived_alike(lanes_[t], "grid_barrier", at);
    }
    for (uint32_t t = 0; t < lanes; ++t) {
        lanes_[t].waits = nullptr;
        make_ready(lanes_[t]);
    }
    leave();
}

void Machine::pause() {
    make_ready(*lane_);
    leave();
}

// Nobody can run and not all have ended: say who waits where.
void Machine::describe_stuck() {
    std::map<std::string, uint32_t> groups;
    uint32_t stuck = 0;
    for (std::size_t b = 0; b < shared_.size() && groups.empty(); ++b) {
        for (uint32_t t = 0; t < launch_->threads; ++t) {
            const Lane& lane = blocks_[b].warps[0].lanes[t];
            if (!lane.ended) stuck = blocks_[b].index;
            const std::string where =
                lane.ended ? "ended" : std::string("wait in ") + lane.waits + " at " + lane.at.name() + ":" + std::to_string(lane.at.line);
            ++groups[where];
        }
        // A block that has ended is no news; of those that have not, one is enough to read.
        if (groups.size() == 1 && groups.begin()->first == "ended") groups.clear();
    }
    std::string list;
    for (const auto& [where, count] : groups) {
        list += (list.empty() ? "" : ", ") + std::to_string(count) + " " + where;
    }
    report("the launch is stuck, for a barrier or warp operation is not reached by all: of the %u threads of block %u %s",
           launch_->threads, stuck, list.c_str());
}

// Whether the bytes behind the shared memory of the wave's blocks are what they were.
bool Machine::check_shared() {
    for (std::size_t b = 0; b < shared_.size(); ++b) {
        for (std::size_t i = guard_size; i-- > 0;) {
            if (shared_[b][launch_->shared + i] != guard) {
                report("block %u writes %zu bytes past its %u bytes of shared memory", blocks_[b].index, i + 1, launch_->shared);
                return false;
            }
        }
    }
    return true;
}

static std::string formatted(const char* format, va_list arguments) {
    char text[1024];
    std::vsnprintf(text, sizeof text, format, arguments);
    return text;
}

void Machine::report(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    error = formatted(format, arguments);
    va_end(arguments);
}

void Machine::fail(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    error = formatted(format, arguments);
    va_end(arguments);
    failed_ = true;
    // The fibers are abandoned as they are: a kernel owns nothing that would have to be given back.
    leave();
    std::abort();
}

void meet_block(Site at) {
    if (machine->leaves_out(at)) return;
    Meeting& meeting = machine->lane().warp->block->meeting;
    races::Clock& clock = meeting.arrive();
    if (machine->arrive_block(at)) {
        ++meeting.round;
        machine->release_block();
    }
    races::acquire(clock);
}

void meet_grid(GridBarrier* barrier, Site at) {
    if (machine->leaves_out(at)) return;
    races::Clock& clock = machine->grid_meeting.arrive();
    if (machine->arrive_grid(barrier, at)) {
        ++machine->grid_meeting.round;
        machine->release_grid();
    }
    races::acquire(clock);
}

void pause() { machine->pause(); }

} // namespace emulation
