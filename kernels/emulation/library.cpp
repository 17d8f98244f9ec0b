// The library's own interface, for tests/cuda/emulation/mod.rs. Device memory is the host's, an address a pointer.

#include "machine.h"

#include <cstdio>
#include <memory>
#include <new>

namespace emulation {

namespace {
const Kernel* kernels = nullptr;
} // namespace

Kernel::Kernel(const char* name, std::size_t parameter, uint32_t max_threads, void (*body)(const void*))
    : name(name), parameter(parameter), max_threads(max_threads), body(body), next(kernels) {
    kernels = this;
}

namespace {

// Of this thread. A pointer, for the machine itself would not fit into the room that a process keeps for the thread-local
// variables of libraries that come late.
Machine& mine() {
    static thread_local std::unique_ptr<Machine> machine;
    if (machine == nullptr) machine = std::make_unique<Machine>();
    return *machine;
}

std::string run(const char* name, Launch launch, const void* parameter, std::size_t size) {
    for (const Kernel* kernel = kernels; kernel != nullptr; kernel = kernel->next) {
        if (std::strcmp(kernel->name, name) == 0) launch.kernel = kernel;
    }
    if (launch.kernel == nullptr) return "there is no kernel of this name";
    if (size != launch.kernel->parameter) {
        return "its parameter has " + std::to_string(size) + " bytes, the kernel's own " + std::to_string(launch.kernel->parameter);
    }
    if (launch.blocks == 0) return "no blocks";
    if (launch.threads == 0 || launch.threads % warp_size != 0 || launch.threads > launch.kernel->max_threads) {
        return std::to_string(launch.threads) + " threads a block: not a multiple of 32 from 32 to the " +
               std::to_string(launch.kernel->max_threads) + " that it is compiled for";
    }
    // A copy of its exact size, so that a sanitizer sees what lies beyond.
    void* copy = nullptr;
    if (posix_memalign(&copy, 16, size) != 0) return "no memory for its parameter";
    std::memcpy(copy, parameter, size);
    launch.parameter = copy;
    const bool ran = mine().run(launch);
    std::free(copy);
    return ran ? "" : mine().error;
}

} // namespace
} // namespace emulation

#define EXPORTED extern "C" __attribute__((visibility("default")))

// Run a kernel. 0, or 1 with the reason in `error`, cut to `error_size` bytes with the final 0.
EXPORTED int sarm_emulation_launch(const char* kernel, uint32_t blocks, uint32_t threads, uint32_t shared, int cooperative,
                                     const void* parameter, std::size_t parameter_size, uint64_t seed, char* error,
                                     std::size_t error_size) {
    std::string problem;
    try {
        problem = emulation::run(kernel, {nullptr, blocks, threads, shared, cooperative != 0, nullptr, seed}, parameter, parameter_size);
    } catch (const std::bad_alloc&) {
        problem = "no memory to emulate it";
    }
    std::snprintf(error, error_size, "%s", problem.c_str());
    return problem.empty() ? 0 : 1;
}

// Name of kernel number `index`, null past the last, and the size of its parameter.
EXPORTED const char* sarm_emulation_kernel(std::size_t index, std::size_t* parameter) {
    const emulation::Kernel* kernel = emulation::kernels;
    while (kernel != nullptr && index-- > 0) kernel = kernel->next;
    if (kernel == nullptr) return nullptr;
    *parameter = kernel->parameter;
    return kernel->name;
}

// Leave the barrier or wait at this line of a kernel out of launches of this thread (0: none), and list those that they come to from now on.
EXPORTED void sarm_emulation_leave_out(const char* file, int line) {
    emulation::Machine& machine = emulation::mine();
    machine.left_out = {file, line};
    machine.lists_sites = true;
    machine.sites.clear();
}

// File and line of number `index` of this list; 0 past the last.
EXPORTED int sarm_emulation_site(std::size_t index, const char** file) {
    const emulation::Machine& machine = emulation::mine();
    if (index >= machine.sites.size()) return 0;
    *file = machine.sites[index].file;
    return machine.sites[index].line;
}

// Whether a sanitizer watches memory.
EXPORTED int sarm_emulation_watched() { return SARM_EMULATION_ASAN; }
