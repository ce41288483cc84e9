// The edge table of a triangle list (common/edge_table.cuh), for antialias.
#include "common/edge_table.cuh"
#include "common/triangle_id.cuh"

struct TopologyParams {
  const int32_t* tri;  // [T, 3]
  uint64_t* edges;     // [capacity], all ones, see EdgeTable
  int32_t* opposites;  // [capacity, 2], all INT32_MAX
  int64_t num_triangles, capacity;
};

GLR_KERNEL topology_build(const TopologyParams& p) {
  const EdgeTable table = {p.edges, p.opposites, p.capacity};
  GLR_FOR_EACH(t, p.num_triangles) {
    VertexIndices v;
    if (!load_triangle(p.tri, p.num_triangles, INT32_MAX, int32_t(t), &v)) continue;
    insert_edge(table, v.v0, v.v1, v.v2);
    insert_edge(table, v.v1, v.v2, v.v0);
    insert_edge(table, v.v2, v.v0, v.v1);
  }
}
GLR_EXPORT_UNTYPED(topology_build, TopologyParams)
