// An imitation of NVIDIA's driver, as much of it as sarm calls: memory is the host's, kernels run in the
// emulation whose library SARM_IMITATION_KERNELS names, at once. What it is and where it fails, words of
// SARM_IMITATION say: cards=N version=13000 capability=90 memory=BYTES name=WORDS_OF_IT asleep=1 fail=CALL:NUMBER:CODE
// broken=KERNEL:CODE. A broken kernel's error is that of the calls after its launch. Errors of kernels (700 and above) stay, as
// the driver's do.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

std::mutex guard;
int lasting = 0;
std::map<std::string, int> calls;
std::map<uint64_t, std::size_t> allocations;
std::set<void*> pinned;
std::size_t used = 0;
unsigned context_flags = 0;

std::string setting(const char* name, const char* otherwise) {
    const char* all = std::getenv("SARM_IMITATION");
    const std::string text = " " + std::string(all ? all : "") + " ", key = " " + std::string(name) + "=";
    const auto at = text.find(key);
    if (at == std::string::npos) return otherwise;
    const auto from = at + key.size();
    return text.substr(from, text.find(' ', from) - from);
}

std::size_t number(const char* name, const char* otherwise) { return std::strtoull(setting(name, otherwise).c_str(), nullptr, 10); }

// What this call returns before doing anything: 0, or the failure that was asked for.
int fate(const char* call) {
    const int count = ++calls[call];
    const std::string wanted = setting("fail", "");
    const std::string start = std::string(call) + ":" + std::to_string(count) + ":";
    int code = 0;
    if (wanted.rfind(start, 0) == 0) code = std::atoi(wanted.c_str() + start.size());
    if (code >= 700 || code == 214) lasting = code;
    return code ? code : lasting;
}

struct Kernel { const char* name; std::size_t parameter; };
struct Launch { Kernel* kernel; unsigned blocks, threads, shared; int cooperative; std::vector<unsigned char> parameter; };
struct Graph { std::vector<Launch> launches; };
struct Event { unsigned flags; std::chrono::steady_clock::time_point at; };
struct Stream { bool recording = false; Graph graph; };

using Run = int (*)(const char*, uint32_t, uint32_t, uint32_t, int, const void*, std::size_t, uint64_t, char*, std::size_t);
using List = const char* (*)(std::size_t, std::size_t*);

void* library() {
    const char* path = std::getenv("SARM_IMITATION_KERNELS");
    static void* opened = path ? dlopen(path, RTLD_NOW) : nullptr;
    return opened;
}

int run(const Launch& launch) {
    const std::string broken = setting("broken", ""), start = std::string(launch.kernel->name) + ":";
    if (broken.rfind(start, 0) == 0) {
        lasting = std::atoi(broken.c_str() + start.size());
        return 0;
    }
    static Run function = library() ? reinterpret_cast<Run>(dlsym(library(), "sarm_emulation_launch")) : nullptr;
    if (!function) return 0;
    char error[2000];
    if (!function(launch.kernel->name, launch.blocks, launch.threads, launch.shared, launch.cooperative, launch.parameter.data(),
                  launch.parameter.size(), 1, error, sizeof error)) {
        return 0;
    }
    std::fprintf(stderr, "imitation: %s\n", error);
    return lasting = 719;
}

int launch(Kernel* kernel, unsigned blocks, unsigned threads, unsigned shared, Stream* stream, void** parameters, int cooperative) {
    Launch one{kernel, blocks, threads, shared, cooperative, {}};
    const auto* bytes = static_cast<unsigned char*>(parameters[0]);
    one.parameter.assign(bytes, bytes + kernel->parameter);
    if (!stream->recording) return run(one);
    stream->graph.launches.push_back(one);
    return 0;
}

} // namespace

#define CALL(name, ...) extern "C" __attribute__((visibility("default"))) int name(__VA_ARGS__)
#define BEGIN                                      \
    std::lock_guard<std::mutex> lock(guard);       \
    if (const int code = fate(__func__)) return code;

CALL(cuDriverGetVersion, int* version) { *version = static_cast<int>(number("version", "13000")); return 0; }
CALL(cuInit, unsigned) { BEGIN return number("cards", "1") == 0 ? 100 : 0; }
CALL(cuGetErrorName, int code, const char** text) {
    static const std::map<int, const char*> names = {{2, "CUDA_ERROR_OUT_OF_MEMORY"}, {209, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
        {214, "CUDA_ERROR_ECC_UNCORRECTABLE"}, {700, "CUDA_ERROR_ILLEGAL_ADDRESS"}, {719, "CUDA_ERROR_LAUNCH_FAILED"}};
    const auto found = names.find(code);
    if (found == names.end()) return 1;
    *text = found->second;
    return 0;
}
CALL(cuGetErrorString, int, const char** text) { *text = "as the test wants it"; return 0; }
CALL(cuDeviceGetCount, int* count) { BEGIN *count = static_cast<int>(number("cards", "1")); return 0; }
CALL(cuDeviceGet, int* device, int ordinal) { BEGIN *device = ordinal; return 0; }
CALL(cuDeviceGetName, char* name, int size, int) {
    BEGIN
    std::snprintf(name, size, "%s", setting("name", "Imitation").c_str());
    std::replace(name, name + std::strlen(name), '_', ' ');
    return 0;
}
CALL(cuDeviceGetUuid_v2, char* bytes, int) { BEGIN std::memset(bytes, 0x49, 16); return 0; }
CALL(cuDeviceTotalMem_v2, std::size_t* bytes, int) { BEGIN *bytes = number("memory", "1073741824"); return 0; }
CALL(cuDeviceGetAttribute, int* value, int which, int device) {
    BEGIN
    // One for each card, or for all.
    std::string capabilities = setting("capability", "90");
    for (std::size_t comma; device-- > 0 && (comma = capabilities.find(',')) != std::string::npos;) capabilities.erase(0, comma + 1);
    const int capability = std::atoi(capabilities.c_str());
    switch (which) {
    case 75: *value = capability / 10; break;
    case 76: *value = capability % 10; break;
    case 16: *value = 4; break;
    case 97: *value = 227 << 10; break;
    case 81: *value = 228 << 10; break;
    case 38: *value = 50 << 20; break;
    default: return 1;
    }
    return 0;
}
CALL(cuDevicePrimaryCtxSetFlags_v2, int, unsigned flags) { BEGIN context_flags = flags; return 0; }
CALL(cuDevicePrimaryCtxRetain, void** context, int) { BEGIN *context = &guard; return 0; }
CALL(cuDevicePrimaryCtxRelease_v2, int) { return 0; }
CALL(cuCtxSetCurrent, void*) { BEGIN return 0; }
CALL(cuModuleLoadData, void** module, const void* image) {
    BEGIN
    *module = &used;
    // A fat binary's first four bytes.
    return *static_cast<const uint32_t*>(image) == 0xBA55ED50u && reinterpret_cast<uint64_t>(image) % 8 == 0 ? 0 : 200;
}
CALL(cuModuleUnload, void*) { return 0; }
CALL(cuModuleGetFunction, Kernel** function, void*, const char* name) {
    BEGIN
    const auto list = library() ? reinterpret_cast<List>(dlsym(library(), "sarm_emulation_kernel")) : nullptr;
    *function = new Kernel{strdup(name), 0};
    std::size_t parameter = 0;
    for (std::size_t i = 0; list && list(i, &parameter); i++) {
        if (std::strcmp(list(i, &parameter), name) == 0) (*function)->parameter = parameter;
    }
    return 0;
}
CALL(cuFuncGetParamInfo, Kernel* function, std::size_t index, std::size_t* offset, std::size_t* size) {
    BEGIN
    *offset = 0;
    *size = function->parameter;
    return index == 0 ? 0 : 1;
}
CALL(cuFuncGetAttribute, int* value, int which, Kernel*) { BEGIN *value = which == 0 ? 1024 : 0; return 0; }
CALL(cuFuncSetAttribute, Kernel*, int, int) { BEGIN return 0; }
CALL(cuMemAlloc_v2, uint64_t* address, std::size_t bytes) {
    BEGIN
    // As the driver: pages of 2 MiB for large buffers, which small ones share.
    const std::size_t taken = bytes < (1 << 20) ? bytes : (bytes + (2 << 20) - 1) >> 21 << 21;
    if (used + taken > number("memory", "1073741824")) return 2;
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, bytes)) return 2;
    // As a card's memory is: not zero.
    std::memset(memory, 0xA5, bytes);
    used += taken;
    allocations[*address = reinterpret_cast<uint64_t>(memory)] = taken;
    return 0;
}
CALL(cuMemFree_v2, uint64_t address) {
    BEGIN
    const auto found = allocations.find(address);
    if (found == allocations.end()) return 1;
    used -= found->second;
    allocations.erase(found);
    std::free(reinterpret_cast<void*>(address));
    return 0;
}
CALL(cuMemGetInfo_v2, std::size_t* free, std::size_t* total) { BEGIN *total = number("memory", "1073741824"); *free = *total - used; return 0; }
CALL(cuMemHostAlloc, void** memory, std::size_t bytes, unsigned) {
    BEGIN
    *memory = std::malloc(bytes);
    // Not zero either.
    std::memset(*memory, 0xA5, bytes);
    pinned.insert(*memory);
    return 0;
}
CALL(cuMemFreeHost, void* memory) {
    std::lock_guard<std::mutex> lock(guard);
    if (!pinned.erase(memory)) return 1;
    std::free(memory);
    return 0;
}
CALL(cuMemcpyHtoDAsync_v2, uint64_t to, const void* from, std::size_t n, Stream*) { BEGIN std::memcpy(reinterpret_cast<void*>(to), from, n); return 0; }
CALL(cuMemcpyDtoHAsync_v2, void* to, uint64_t from, std::size_t n, Stream*) { BEGIN std::memcpy(to, reinterpret_cast<void*>(from), n); return 0; }
CALL(cuMemsetD8Async, uint64_t to, unsigned char byte, std::size_t n, Stream*) { BEGIN std::memset(reinterpret_cast<void*>(to), byte, n); return 0; }
CALL(cuStreamCreate, Stream** stream, unsigned) { BEGIN *stream = new Stream; return 0; }
// asleep=1: who waits must have said that it sleeps.
CALL(cuStreamSynchronize, Stream*) { BEGIN return number("asleep", "0") && context_flags != 4 ? 1 : 0; }
CALL(cuStreamDestroy_v2, Stream* stream) { delete stream; return 0; }
CALL(cuStreamBeginCapture_v2, Stream* stream, int) { BEGIN stream->recording = true; return 0; }
CALL(cuStreamEndCapture, Stream* stream, Graph** graph) { BEGIN stream->recording = false; *graph = new Graph(stream->graph); return 0; }
CALL(cuLaunchKernel, Kernel* f, unsigned gx, unsigned, unsigned, unsigned bx, unsigned, unsigned, unsigned shared, Stream* stream,
     void** parameters, void**) { BEGIN return launch(f, gx, bx, shared, stream, parameters, 0); }
CALL(cuLaunchCooperativeKernel, Kernel* f, unsigned gx, unsigned, unsigned, unsigned bx, unsigned, unsigned, unsigned shared,
     Stream* stream, void** parameters) { BEGIN return launch(f, gx, bx, shared, stream, parameters, 1); }
CALL(cuGraphInstantiateWithFlags, Graph** made, Graph* graph, unsigned long long) { BEGIN *made = new Graph(*graph); return 0; }
CALL(cuGraphUpload, Graph*, Stream*) { BEGIN return 0; }
CALL(cuGraphLaunch, Graph* graph, Stream*) {
    BEGIN
    for (const auto& one : graph->launches) {
        if (const int code = run(one)) return code;
    }
    return 0;
}
CALL(cuGraphDestroy, Graph* graph) { delete graph; return 0; }
CALL(cuGraphExecDestroy, Graph* graph) { delete graph; return 0; }
CALL(cuEventCreate, Event** event, unsigned flags) { BEGIN *event = new Event{flags, {}}; return 0; }
// Work is done where it is asked for: the clock of the host is that of the card.
CALL(cuEventRecord, Event* event, Stream*) { BEGIN event->at = std::chrono::steady_clock::now(); return 0; }
CALL(cuEventSynchronize, Event* event) { BEGIN return number("asleep", "0") && !(event->flags & 1) ? 1 : 0; }
// Drivers before CUDA 12.8 have the older name alone.
#ifdef IMITATION_OF_12_4
#define cuEventElapsedTime_v2 cuEventElapsedTime
#endif
CALL(cuEventElapsedTime_v2, float* milliseconds, Event* start, Event* end) {
    BEGIN
    *milliseconds = std::chrono::duration<float, std::milli>(end->at - start->at).count();
    // Of events without a clock (2) there is no time.
    return (start->flags | end->flags) & 2 ? 400 : 0;
}
CALL(cuEventDestroy_v2, Event* event) { delete event; return 0; }
