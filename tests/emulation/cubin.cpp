#include "cubin.h"

#include <elf.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

// Calls visit(attribute, payload) for the attributes in the cubin's section ".nv.info." + entry.
template <class Visit>
bool for_each_attribute(const std::string& image, const std::string& entry, const Visit& visit) {
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image.data());
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(image.data() + header->e_shoff);
  const char* names = image.data() + sections[header->e_shstrndx].sh_offset;
  for (int i = 0; i < header->e_shnum; ++i) {
    if (names + sections[i].sh_name != ".nv.info." + entry) continue;
    const char* at = image.data() + sections[i].sh_offset;
    for (const char* end = at + sections[i].sh_size; at < end;) {
      uint16_t size;
      std::memcpy(&size, at + 2, 2);
      visit(uint8_t(at[1]), at + 4);
      at += 4 + (at[0] == 4 ? size : 0);  // format 4: a payload of `size` bytes follows
    }
    return true;
  }
  return false;
}

}  // namespace

bool parameters_of(const std::string& image, const std::string& entry, std::vector<Parameter>* parameters) {
  return for_each_attribute(image, entry, [&](uint8_t attribute, const char* payload) {
    if (attribute != 0x17) return;  // one parameter: index, ordinal, offset, size in the upper bits
    uint16_t ordinal, offset;
    uint32_t packed;
    std::memcpy(&ordinal, payload + 4, 2), std::memcpy(&offset, payload + 6, 2), std::memcpy(&packed, payload + 8, 4);
    if (parameters->size() <= ordinal) parameters->resize(ordinal + 1);
    (*parameters)[ordinal] = {offset, packed >> 18};
  });
}

size_t size_of_elf(const void* image) {
  const auto* header = static_cast<const Elf64_Ehdr*>(image);
  if (std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return 0;
  return std::max(header->e_shoff + size_t(header->e_shnum) * header->e_shentsize,
                  header->e_phoff + size_t(header->e_phnum) * header->e_phentsize);
}

// The bytes of all parameters of a kernel; -1 if the cubin does not have it.
extern "C" int64_t emulated_parameter_bytes(const char* image, size_t size, const char* entry) {
  std::vector<Parameter> parameters;
  if (!parameters_of(std::string(image, size), entry, &parameters) || parameters.empty()) return -1;
  return int64_t(parameters.back().offset + parameters.back().size);
}
