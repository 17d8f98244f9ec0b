// Asynchronous copies, as late as they may be: where one goes is poisoned when it is issued, and written when the
// wait that covers it is over.

#include "machine.h"

#include <iterator>

namespace emulation {

void copy(void* shared, const void* global, uint32_t valid, Site at) {
    Lane& lane = machine->lane();
    auto* to = static_cast<unsigned char*>(shared);
    const auto* from = static_cast<const unsigned char*>(global);
    const char* problem = nullptr;
    if (reinterpret_cast<uintptr_t>(to) % 16 != 0) problem = "its destination is not aligned to 16 bytes";
    if (reinterpret_cast<uintptr_t>(from) % 16 != 0) problem = "its source is not aligned to 16 bytes";
    if (valid > 16) problem = "more than 16 bytes are said to be valid";
    if (to < lane.place.shared || to + 16 > lane.place.shared + machine->launch().shared) {
        problem = "its destination is not in shared memory";
    }
    for (const Copy& other : lane.copies) {
        if (other.to == to) problem = "its destination is that of a copy under way";
    }
    if (problem != nullptr) {
        machine->fail("copy_async_16 at %s:%d, thread %u of block %u: %s", at.name(), at.line, lane.place.thread, lane.place.block, problem);
    }
    if (races::watched) {
        // Done by somebody else, from now on until the wait for its group.
        if (*lane.engine == nullptr) *lane.engine = races::create();
        races::release(lane.issued);
        races::switch_to(*lane.engine);
        races::acquire(lane.issued);
        races::writes(to, 16, __builtin_return_address(0));
        races::reads(from, valid, __builtin_return_address(0));
        races::switch_to(lane.fiber.watched);
    }
    Copy copy{to, from, valid, lane.group, at, {}};
    // Read here as well, so that a bad address shows where it is given.
    std::memcpy(copy.seen, from, valid);
    std::memset(to, 0xFF, 16);
    lane.copies.push_back(copy);
}

void commit() {
    Lane& lane = machine->lane();
    if (races::watched && *lane.engine != nullptr) {
        races::switch_to(*lane.engine);
        races::release(lane.groups[lane.group % std::size(lane.groups)]);
        races::switch_to(lane.fiber.watched);
    }
    ++lane.group;
}

void wait(int groups, Site at) {
    if (machine->leaves_out(at)) return;
    Lane& lane = machine->lane();
    const int64_t before = int64_t(lane.group) - groups;
    std::size_t landed = 0;
    // Who does the copies did those of earlier groups before.
    if (before > 0) races::acquire(lane.groups[(before - 1) % std::size(lane.groups)]);
    while (landed < lane.copies.size() && lane.copies[landed].group < before) {
        const Copy& copy = lane.copies[landed++];
        if (std::memcmp(copy.seen, copy.from, copy.valid) != 0) {
            machine->fail("the source of copy_async_16 at %s:%d changed while the copy was under way", copy.at.name(), copy.at.line);
        }
        std::memcpy(copy.to, copy.from, copy.valid);
        std::memset(copy.to + copy.valid, 0, 16 - copy.valid);
    }
    lane.copies.erase(lane.copies.begin(), lane.copies.begin() + static_cast<std::ptrdiff_t>(landed));
}

} // namespace emulation
