// The part of the CUDA driver's interface that glraster calls, as a libcuda.so.1 for machines without a GPU: modules
// are real cubins, whose kernels run in the scheduler on the CPU's memory. It is as strict as the driver where code can
// go wrong unseen: calls need a current context, modules cannot be loaded while a stream captures.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "cubin.h"

extern "C" void emulate(void* entry, const void* bytes, size_t size, unsigned grid, unsigned block, uint64_t seed);

namespace {

enum Result {
  kSuccess = 0,
  kInvalidValue = 1,
  kNotInitialized = 3,
  kInvalidDevice = 101,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNotFound = 500,
  kCaptureUnsupported = 900
};
constexpr int kCaptureRelaxed = 2;

struct Function {
  std::string name;
  void* entry;
  std::vector<Parameter> parameters;
};
struct Module {
  std::string image;
};
struct Launch {  // what test_launcher.py reads
  uint64_t function, stream, context;
  uint32_t grid, block;
  uint64_t bytes;
  char parameters[1024];
};

bool initialized;
bool capturing;          // set by a test: some stream captures a graph
bool refusing_contexts;  // set by a test: no context becomes current
thread_local std::vector<void*> contexts;
thread_local int capture_mode;
std::mutex one_at_a_time;
std::vector<Launch> launches;

std::string own_path() {
  Dl_info self;
  dladdr(&initialized, &self);
  return self.dli_fname;
}

void* emulated_kernels(bool deterministic) {
  const std::string path = own_path(), folder = path.substr(0, path.rfind('/'));
  void* library = dlopen((folder + (deterministic ? "/deterministic.so" : "/plain.so")).c_str(), RTLD_NOW);
  if (!library) std::fprintf(stderr, "%s\n", dlerror()), std::abort();
  return library;
}

Result no_context() { return !initialized ? kNotInitialized : contexts.empty() ? kInvalidContext : kSuccess; }

}  // namespace

extern "C" {

// For the tests.
void emulated_capture(int on) { capturing = on; }
void emulated_refuse_contexts(int on) { refusing_contexts = on; }
size_t emulated_launches(Launch* out, size_t most) {
  for (size_t i = 0; i < launches.size() && i < most; ++i) out[i] = launches[i];
  return launches.size();
}
int cuInit(unsigned) { return initialized = true, kSuccess; }
int cuDriverGetVersion(int* version) { return *version = 13000, kSuccess; }
int cuDeviceGetCount(int* count) { return *count = 1, kSuccess; }
int cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return !initialized ? kNotInitialized : ordinal == 0 ? kSuccess : kInvalidDevice;
}
int cuDeviceGetName(char* name, int size, int) { return std::snprintf(name, size, "emulated GPU"), kSuccess; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
  switch (attribute) {
    case 16:
      return *value = 2, kSuccess;  // multiprocessors: few, so that grids stride
    case 75:
      return *value = 8, kSuccess;  // compute capability 8.0
    case 76:
      return *value = 0, kSuccess;
    default:
      return kInvalidValue;
  }
}
int cuDevicePrimaryCtxRetain(void** context, int device) {
  return *context = reinterpret_cast<void*>(uintptr_t(0x1000 + device)), kSuccess;
}
int cuCtxPushCurrent_v2(void* context) {
  if (refusing_contexts) return kInvalidContext;
  return contexts.push_back(context), kSuccess;
}
int cuCtxPopCurrent_v2(void** context) {
  if (contexts.empty()) return kInvalidContext;
  *context = contexts.back();
  return contexts.pop_back(), kSuccess;
}
int cuCtxGetCurrent(void** context) { return *context = contexts.empty() ? nullptr : contexts.back(), kSuccess; }
int cuThreadExchangeStreamCaptureMode(int* mode) { return std::swap(*mode, capture_mode), kSuccess; }

int cuModuleLoadData(void** module, const void* image) {
  if (no_context()) return no_context();
  if (capturing && capture_mode != kCaptureRelaxed) return kCaptureUnsupported;
  const size_t size = size_of_elf(image);
  if (!size) return kInvalidImage;
  return *module = new Module{std::string(static_cast<const char*>(image), size)}, kSuccess;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
  if (no_context()) return no_context();
  std::vector<Parameter> parameters;
  if (!parameters_of(static_cast<Module*>(module)->image, name, &parameters)) return kNotFound;
  void* entry = dlsym(emulated_kernels(parameters.size() > 1), name);
  return *function = new Function{name, entry, parameters}, entry ? kSuccess : kNotFound;
}
int cuLaunchKernel(void* function, unsigned grid, unsigned, unsigned, unsigned block, unsigned, unsigned, unsigned,
                   void* stream, void** parameters, void**) {
  if (no_context()) return no_context();
  if (!grid || block > 1024) return kInvalidValue;
  const auto& called = *static_cast<Function*>(function);
  std::vector<char> bytes(called.parameters.back().offset + called.parameters.back().size);
  for (size_t i = 0; i < called.parameters.size(); ++i)
    std::memcpy(&bytes[called.parameters[i].offset], parameters[i], called.parameters[i].size);
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  Launch launch{uint64_t(function), uint64_t(stream), uint64_t(contexts.back()), grid, block, bytes.size(), {}};
  std::memcpy(launch.parameters, bytes.data(), std::min(bytes.size(), sizeof launch.parameters));
  launches.push_back(launch);
  emulate(called.entry, bytes.data(), bytes.size(), grid, block, launches.size());
  return kSuccess;
}

int cuGetExportTable(const void** table, const void*) { return *table = nullptr, kNotFound; }  // NVRTC asks for one
int cuGetErrorName(int, const char** text) { return *text = "CUDA_ERROR_EMULATED", kSuccess; }
int cuGetErrorString(int, const char** text) { return *text = "an error of the emulated driver", kSuccess; }
int cuGetProcAddress_v2(const char* name, void** function, int, uint64_t, int* status) {
  void* library = dlopen(own_path().c_str(), RTLD_NOW | RTLD_NOLOAD);
  *function = dlsym(library, (std::string(name) + "_v2").c_str());
  if (!*function) *function = dlsym(library, name);
  if (status) *status = *function ? 0 : 1;
  return *function ? kSuccess : kNotFound;
}
}
