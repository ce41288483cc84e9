// What a cubin (an ELF file) says about the parameters of its kernels.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

struct Parameter {
  size_t offset, size;
};

// The parameters of a kernel in the order of their declaration; false if the cubin does not have it.
bool parameters_of(const std::string& image, const std::string& entry, std::vector<Parameter>* parameters);

// The bytes of an ELF file, which says itself how long it is; 0 if it is none.
size_t size_of_elf(const void* image);
