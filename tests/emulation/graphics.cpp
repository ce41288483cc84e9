// CUDA's OpenGL interoperability in the emulated driver: mapping copies a buffer of the current OpenGL context to
// memory, unmapping copies it back. Strict about the order of calls: what is not mapped has no address, and what is
// registered must not change its size.
#include <dlfcn.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

enum Result { kSuccess = 0, kInvalidValue = 1, kInvalidHandle = 400, kNotMapped = 211, kAlreadyMapped = 208 };
constexpr unsigned kBufferSize = 0x8764;

using Proc = void (*)();
template <class... Arguments>
void gl(const char* name, Arguments... arguments) {
  static auto* const find =
      reinterpret_cast<Proc (*)(const char*)>(dlsym(dlopen("libEGL.so.1", RTLD_NOW), "eglGetProcAddress"));
  reinterpret_cast<void (*)(Arguments...)>(find(name))(arguments...);
}

struct Resource {
  unsigned name;
  bool mapped;
  int size;  // in bytes
  std::vector<char> memory;
};

int size_of(unsigned buffer) {
  int value = 0;
  gl("glGetNamedBufferParameteriv", buffer, kBufferSize, &value);
  return value;
}

int registered;

}  // namespace

extern "C" {

int emulated_registered() { return registered; }

int cuGLGetDevices_v2(unsigned* count, int* devices, unsigned room, int) {
  return *count = 1, devices[0] = 0, room ? kSuccess : kInvalidValue;
}
int cuGraphicsGLRegisterBuffer(Resource** resource, unsigned buffer, unsigned) {
  const int size = size_of(buffer);
  return ++registered, *resource = new Resource{buffer, false, size, {}}, size ? kSuccess : kInvalidValue;
}
int cuGraphicsUnregisterResource(Resource* resource) {
  if (resource->mapped) return kAlreadyMapped;
  return --registered, delete resource, kSuccess;
}
int cuGraphicsMapResources(unsigned count, Resource** resources, void*) {
  for (unsigned i = 0; i < count; ++i) {
    Resource& r = *resources[i];
    if (r.mapped) return kAlreadyMapped;
    if (size_of(r.name) != r.size) return kInvalidHandle;
    r.mapped = true;
    r.memory.resize(r.size);
    gl("glGetNamedBufferSubData", r.name, intptr_t(0), intptr_t(r.size), static_cast<void*>(r.memory.data()));
  }
  return kSuccess;
}
int cuGraphicsUnmapResources(unsigned count, Resource** resources, void*) {
  for (unsigned i = 0; i < count; ++i) {
    Resource& r = *resources[i];
    if (!r.mapped) return kNotMapped;
    r.mapped = false;
    gl("glNamedBufferSubData", r.name, intptr_t(0), intptr_t(r.size), static_cast<void*>(r.memory.data()));
    std::vector<char>().swap(r.memory);
  }
  return kSuccess;
}
int cuGraphicsResourceGetMappedPointer_v2(void** address, size_t* bytes, Resource* resource) {
  if (!resource->mapped) return kNotMapped;
  return *address = resource->memory.data(), *bytes = resource->memory.size(), kSuccess;
}
int cuMemcpyDtoDAsync_v2(void* to, const void* from, size_t bytes, void*) {
  return std::memcpy(to, from, bytes), kSuccess;
}
}
