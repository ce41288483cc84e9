// CUDA's OpenGL interoperability in the emulated driver: mapping copies a buffer or texture of the current OpenGL
// context to memory, unmapping copies buffers back. Strict about the order of calls: what is not mapped has no address,
// and what is registered must not change its size.
#include <dlfcn.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

enum Result { kSuccess = 0, kInvalidValue = 1, kInvalidHandle = 400, kNotMapped = 211, kAlreadyMapped = 208 };
constexpr unsigned kArrayTexture = 0x8C1A, kRedInteger = 0x8D94, kRedGreenInteger = 0x8228, kInt = 0x1404;
constexpr unsigned kTextureWidth = 0x1000, kTextureHeight = 0x1001, kTextureDepth = 0x8071, kBufferSize = 0x8764;
constexpr unsigned kTextureFormat = 0x1003, kOneInteger = 0x8235, kTwoIntegers = 0x823B;

using Proc = void (*)();
template <class... Arguments>
void gl(const char* name, Arguments... arguments) {
  static auto* const find =
      reinterpret_cast<Proc (*)(const char*)>(dlsym(dlopen("libEGL.so.1", RTLD_NOW), "eglGetProcAddress"));
  reinterpret_cast<void (*)(Arguments...)>(find(name))(arguments...);
}

struct Resource {
  unsigned name;
  bool image, mapped;
  int width, height, depth;  // of an image; a buffer has its bytes in `width`
  int channels;              // of an image, four bytes each
  std::vector<char> memory;
};
struct Layers {  // a CUarray
  Resource* of;
  int first, count;
};

int size_of(const Resource& r, unsigned what) {
  int value = 0;
  if (r.image)
    gl("glGetTextureLevelParameteriv", r.name, 0, what, &value);
  else
    gl("glGetNamedBufferParameteriv", r.name, what, &value);
  return value;
}

bool layers_apart;  // set by a test: array textures are seen layer by layer
int registered;

}  // namespace

extern "C" {

void emulated_layers_apart(int on) { layers_apart = on; }
int emulated_registered() { return registered; }

int cuGLGetDevices_v2(unsigned* count, int* devices, unsigned room, int) {
  return *count = 1, devices[0] = 0, room ? kSuccess : kInvalidValue;
}
int cuGraphicsGLRegisterBuffer(Resource** resource, unsigned buffer, unsigned) {
  auto* made = new Resource{buffer, false, false, 0, 1, 1, 0, {}};
  made->width = size_of(*made, kBufferSize);
  return ++registered, *resource = made, made->width ? kSuccess : kInvalidValue;
}
int cuGraphicsGLRegisterImage(Resource** resource, unsigned texture, unsigned target, unsigned) {
  auto* made = new Resource{texture, true, false, 0, 0, 0, 0, {}};
  made->width = size_of(*made, kTextureWidth), made->height = size_of(*made, kTextureHeight);
  made->depth = size_of(*made, kTextureDepth);
  const unsigned format = size_of(*made, kTextureFormat);
  made->channels = format == kOneInteger ? 1 : format == kTwoIntegers ? 2 : 0;  // no depths, which CUDA does not map
  return ++registered, *resource = made, target == kArrayTexture && made->channels ? kSuccess : kInvalidValue;
}
int cuGraphicsUnregisterResource(Resource* resource) {
  if (resource->mapped) return kAlreadyMapped;
  return --registered, delete resource, kSuccess;
}
int cuGraphicsMapResources(unsigned count, Resource** resources, void*) {
  for (unsigned i = 0; i < count; ++i) {
    Resource& r = *resources[i];
    if (r.mapped) return kAlreadyMapped;
    if (size_of(r, r.image ? kTextureWidth : kBufferSize) != r.width) return kInvalidHandle;
    r.mapped = true;
    r.memory.resize(size_t(r.width) * r.height * r.depth * (r.image ? 4 * r.channels : 1));
    if (r.image)
      gl("glGetTextureImage", r.name, 0, r.channels == 2 ? kRedGreenInteger : kRedInteger, kInt, int(r.memory.size()),
         static_cast<void*>(r.memory.data()));
    else
      gl("glGetNamedBufferSubData", r.name, intptr_t(0), intptr_t(r.width), static_cast<void*>(r.memory.data()));
  }
  return kSuccess;
}
int cuGraphicsUnmapResources(unsigned count, Resource** resources, void*) {
  for (unsigned i = 0; i < count; ++i) {
    Resource& r = *resources[i];
    if (!r.mapped) return kNotMapped;
    r.mapped = false;
    if (!r.image)
      gl("glNamedBufferSubData", r.name, intptr_t(0), intptr_t(r.width), static_cast<void*>(r.memory.data()));
    std::vector<char>().swap(r.memory);
  }
  return kSuccess;
}
int cuGraphicsResourceGetMappedPointer_v2(void** address, size_t* bytes, Resource* resource) {
  if (!resource->mapped || resource->image) return kNotMapped;
  return *address = resource->memory.data(), *bytes = resource->memory.size(), kSuccess;
}
int cuGraphicsSubResourceGetMappedArray(Layers** array, Resource* resource, unsigned index, unsigned level) {
  if (!resource->mapped || !resource->image) return kNotMapped;
  if (level != 0 || int(index) >= resource->depth) return kInvalidValue;
  *array = layers_apart ? new Layers{resource, int(index), 1} : new Layers{resource, 0, resource->depth};
  return kSuccess;
}

struct ArrayDescriptor {
  size_t width, height, depth;
  int format;
  unsigned channels, flags;
};
int cuArray3DGetDescriptor_v2(ArrayDescriptor* descriptor, const Layers* array) {
  const size_t depth = layers_apart ? 0 : array->count;
  return *descriptor =
             {size_t(array->of->width), size_t(array->of->height), depth, 0x0a, unsigned(array->of->channels), 1},
         kSuccess;
}
int cuMemcpyDtoDAsync_v2(void* to, const void* from, size_t bytes, void*) {
  return std::memcpy(to, from, bytes), kSuccess;
}

struct Copy3D {
  size_t from_x, from_y, from_z, from_level;
  int from_type;
  const void *from_host, *from_device;
  const Layers* from_array;
  void* reserved0;
  size_t from_pitch, from_height, to_x, to_y, to_z, to_level;
  int to_type;
  void *to_host, *to_device, *to_array, *reserved1;
  size_t to_pitch, to_height, width_bytes, height, depth;
};
int cuMemcpy3DAsync_v2(const Copy3D* copy, void*) {
  if (copy->from_type != 3 || copy->to_type != 2) return kInvalidValue;  // an array, device memory
  const Layers& array = *copy->from_array;
  const size_t row_bytes = size_t(array.of->width) * 4 * array.of->channels, layer_bytes = row_bytes * array.of->height;
  if (copy->width_bytes > row_bytes || copy->height > size_t(array.of->height) || copy->depth > size_t(array.count))
    return kInvalidValue;
  for (size_t z = 0; z < copy->depth; ++z)
    for (size_t y = 0; y < copy->height; ++y)
      std::memcpy(static_cast<char*>(copy->to_device) + (z * copy->to_height + y) * copy->to_pitch,
                  array.of->memory.data() + (array.first + z) * layer_bytes + y * row_bytes, copy->width_bytes);
  return kSuccess;
}
}
