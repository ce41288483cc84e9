// Which vertices lie opposite an edge: a hash table over the edges of a mesh, for the silhouette test of antialias.
#pragma once

#include "portability.cuh"

struct EdgeTable {
  uint64_t* edges;     // [capacity] (lower vertex, higher vertex), all ones where free
  int32_t* opposites;  // [capacity, 2] the two lowest opposite vertices, INT32_MAX where there is none
  int64_t capacity;    // a power of two
};

GLR_FUNC uint64_t edge_key(int32_t a, int32_t b) { return uint64_t(uint32_t(min(a, b))) << 32 | uint32_t(max(a, b)); }

GLR_FUNC int64_t edge_slot(uint64_t key, int64_t capacity) {  // the finalizer of MurmurHash3
  key = (key ^ key >> 33) * 0xff51afd7ed558ccdull;
  key = (key ^ key >> 33) * 0xc4ceb9fe1a85ec53ull;
  return int64_t((key ^ key >> 33) & uint64_t(capacity - 1));
}

// Keeps the two lowest different opposite vertices of every edge, whatever the order of insertion.
GLR_FUNC void insert_edge(const EdgeTable& table, int32_t a, int32_t b, int32_t opposite) {
  if (a == b) return;
  const uint64_t key = edge_key(a, b);
  int64_t slot = edge_slot(key, table.capacity);
  for (int64_t probe = 0; probe < table.capacity; ++probe, slot = (slot + 1) & (table.capacity - 1)) {
    const uint64_t found = atomic_cas_u64(&table.edges[slot], ~0ull, key);
    if (found != ~0ull && found != key) continue;
    const int32_t lowest = atomic_min_i32(&table.opposites[slot * 2], opposite);
    if (lowest != opposite) atomic_min_i32(&table.opposites[slot * 2 + 1], max(lowest, opposite));
    return;
  }
}

// The opposite vertex of an edge that is not `own`; -1 if no other triangle has this edge.
GLR_FUNC int32_t other_opposite(const EdgeTable& table, int32_t a, int32_t b, int32_t own) {
  const uint64_t key = edge_key(a, b);
  int64_t slot = edge_slot(key, table.capacity);
  for (int64_t probe = 0; probe < table.capacity; ++probe, slot = (slot + 1) & (table.capacity - 1)) {
    if (table.edges[slot] == ~0ull) return -1;
    if (table.edges[slot] != key) continue;
    const int32_t first = table.opposites[slot * 2], second = table.opposites[slot * 2 + 1];
    const int32_t other = first != own ? first : second;
    return other == INT32_MAX ? -1 : other;
  }
  return -1;
}
