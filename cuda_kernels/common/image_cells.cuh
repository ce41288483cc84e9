// On the host: the visible triangles of whole images, group by group of them: vertices are snapped, triangles sorted
// into cells, the large ones prepared once, and then each cell is drawn by one thread. Included by rasterize.cu, which
// has RasterizeParams.
#pragma once

#include "scratch.cuh"
#include "triangle_bins.cuh"

constexpr int64_t kScratchBytes = 64 << 20;  // images are drawn in groups that need about so much

// The triangles of one image.
struct TriangleRange {
  int64_t begin, end;
};

template <class T>
GLR_FUNC TriangleRange triangles_of(const RasterizeParams<T>& p, int64_t image) {
  if (!p.item_start) return {0, p.num_triangles};
  const int64_t first = p.first_triangle[image];
  return {first, first + p.item_start[image + 1] - p.item_start[image]};
}

// A group of images, and what is known about their triangles.
struct ImageGroup {
  int64_t begin, end, chunks;        // images, and chunks of triangles in each
  std::vector<TriangleBin> bins;     // [images, chunks]
  std::vector<LargeTriangle> large;  // those that can be seen, by image and then from near to far
  std::vector<int64_t> large_start;  // [images + 1]
};

template <class T>
static void snap_vertices(const RasterizeParams<T>& p, int64_t first, int64_t count, SnappedVertex* snapped) {
  const ScreenGrid g = grid_of(p);
  constexpr int64_t block = 1024;
#pragma omp parallel for schedule(dynamic, 4)
  for (int64_t b = 0; b < (count + block - 1) / block; ++b) {
    const int64_t end = min(count, (b + 1) * block);
    for (int64_t i = b * block; i < end; ++i) snapped[i] = snap_vertex(g, p.pos + (first + i) * 4);
  }
}

template <class T>
static void fill_bins(const RasterizeParams<T>& p, const SnappedVertex* snapped, const CellGrid& cells, int64_t chunk,
                      int32_t* places, ImageGroup* group) {
  const int64_t V = p.pos_stride ? p.V : 0;  // from one image's vertices to the next
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t k = 0; k < int64_t(group->bins.size()); ++k) {
    const int64_t image = k / group->chunks;
    const TriangleRange range = triangles_of(p, group->begin + image);
    const int64_t begin = min(range.end, range.begin + (k - image * group->chunks) * chunk);
    fill_bin(snapped + image * V, p.V, p.tri, p.num_triangles, begin, min(range.end, begin + chunk), cells,
             int32_t(p.W), int32_t(p.H), places + thread_index() * 2 * chunk, &group->bins[k]);
  }
}

template <class T>
static void prepare_large_ones(const RasterizeParams<T>& p, ImageGroup* group) {
  const ScreenGrid g = grid_of(p);
  const int64_t images = group->end - group->begin;
  std::vector<int64_t> at(images * group->chunks + 1, 0);
  for (size_t k = 0; k < group->bins.size(); ++k) at[k + 1] = at[k] + group->bins[k].num_large;
  group->large.resize(at.back());
  group->large_start.assign(images + 1, 0);
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t k = 0; k < int64_t(group->bins.size()); ++k) {
    const T* pos = p.pos + (group->begin + k / group->chunks) * p.pos_stride;
    for (int32_t i = 0; i < group->bins[k].num_large; ++i) {
      const int32_t id = group->bins[k].large[i];
      const int32_t* v = p.tri + int64_t(id) * 3;
      LargeTriangle* large = &group->large[at[k] + i];
      if (!prepare_large(pos, {v[0], v[1], v[2]}, g, p.cull, id, large)) large->id = -1;
    }
  }
  int64_t kept = 0;
  for (int64_t image = 0; image < images; ++image) {
    const int64_t first = kept;
    for (int64_t i = at[image * group->chunks]; i < at[(image + 1) * group->chunks]; ++i)
      if (group->large[i].id >= 0) group->large[kept++] = group->large[i];
    std::sort(group->large.begin() + first, group->large.begin() + kept,
              [](const LargeTriangle& a, const LargeTriangle& b) { return a.nearest < b.nearest; });
    group->large_start[image + 1] = kept;
  }
}

template <bool Peel, class T>
static void draw_cell(const RasterizeParams<T>& p, const DepthCell& cell, int32_t index, const ImageGroup& group,
                      const SnappedVertex* snapped) {
  const ScreenGrid g = grid_of(p);
  const int64_t image = cell.image - group.begin;
  const T* pos = p.pos + cell.image * p.pos_stride;
  const int64_t first = group.large_start[image];
  int32_t farthest = INT32_MAX;
  for (int64_t i = first; i < group.large_start[image + 1] && group.large[i].nearest <= farthest; ++i) {
    cover_large<Peel>(cell, group.large[i]);
    if ((i - first) % 8 == 7) farthest = cell.farthest_of_all();
  }
  LaneCorners<T> corners = {};
  TriangleLanes lanes;
  int32_t count = 0;
  for (int64_t k = image * group.chunks; k < (image + 1) * group.chunks; ++k) {
    const TriangleBin& bin = group.bins[k];
    for (int32_t i = bin.start[index]; i < bin.start[index + 1]; ++i) {
      corners.load(count, pos, snapped, p.tri + int64_t(bin.items[i]) * 3);
      lanes.id[count++] = bin.items[i];
      if (count < kTriangleLanes) continue;
      draw_lanes<Peel>(cell, corners, g, p.cull, pos, p.tri, count, &lanes);
      count = 0;
    }
  }
  if (count > 0) draw_lanes<Peel>(cell, corners, g, p.cull, pos, p.tri, count, &lanes);
}

// What lies before a cell's pixels: they are to show what comes after it.
template <class T>
static void load_previous(const RasterizeParams<T>& p, const DepthCell& cell, int32_t* depth, int32_t* id) {
  for (int32_t y = cell.y0; y < cell.y1; ++y) {
    const uint64_t* keys = p.previous + (cell.image * p.H + y) * p.W + cell.x0;
    const int64_t row = cell.at(cell.x0, y);
    for (int32_t i = 0; i < cell.x1 - cell.x0; ++i) {
      depth[row + i] = int32_t(uint32_t(keys[i] >> 32) ^ 0x80000000u);
      id[row + i] = ~keys[i] ? int32_t(keys[i]) : kNoTriangle;
    }
  }
}

template <class T>
static void store(const RasterizeParams<T>& p, const DepthCell& cell) {
  for (int32_t y = cell.y0; y < cell.y1; ++y) {
    const int64_t row = (cell.image * p.H + y) * p.W + cell.x0;
    const CellPixels pixels = cell.pixels.at(cell.at(cell.x0, y));
    const int32_t width = cell.x1 - cell.x0;
    for (int32_t i = 0; p.ids && i < width; ++i) p.ids[row + i] = pixels.id[i] == kNoTriangle ? -1 : pixels.id[i];
    for (int32_t i = 0; p.keys && i < width; ++i)
      p.keys[row + i] = pixels.id[i] == kNoTriangle ? ~uint64_t(0) : depth_key(pixels.depth[i], pixels.id[i]);
  }
}

template <class T>
static void draw_cells(const RasterizeParams<T>& p, const CellGrid& cells, const ImageGroup& group,
                       const SnappedVertex* snapped, int32_t* buffers, int64_t buffer) {
  const int32_t stride = DepthCell::stride_for(cells.width);
  const int64_t V = p.pos_stride ? p.V : 0, pixels = int64_t(cells.height) * stride;
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t k = 0; k < (group.end - group.begin) * cells.count(); ++k) {
    const int64_t image = k / cells.count();
    const int32_t index = int32_t(k - image * cells.count());
    int32_t* memory = buffers + thread_index() * buffer;
    int32_t* previous = p.previous ? memory + 2 * pixels : memory;
    DepthCell cell;
    cell.image = group.begin + image;
    cell.x0 = index % cells.columns * cells.width, cell.x1 = int32_t(min<int64_t>(p.W, int64_t(cell.x0) + cells.width));
    cell.y0 = index / cells.columns * cells.height;
    cell.y1 = int32_t(min<int64_t>(p.H, int64_t(cell.y0) + cells.height));
    cell.stride = stride;
    cell.pixels = {memory, memory + pixels, previous, previous + pixels};
    cell.farthest = memory + (p.previous ? 4 : 2) * pixels;
    cell.clear();
    if (p.previous) {
      load_previous(p, cell, previous, previous + pixels);
      draw_cell<true>(p, cell, index, group, snapped + image * V);
    } else {
      draw_cell<false>(p, cell, index, group, snapped + image * V);
    }
    store(p, cell);
  }
}

template <class T>
static void draw_images(const RasterizeParams<T>& p) {
  const int threads = omp_get_max_threads();
  const CellGrid cells(p.W, p.H, p.N, threads);
  int64_t most = 0;  // triangles in an image
  for (int64_t n = 0; n < p.N; ++n) most = max(most, triangles_of(p, n).end - triangles_of(p, n).begin);
  const int64_t chunk = max<int64_t>(1, min(most, max<int64_t>(kChunk, 4 * int64_t(cells.count()))));
  ImageGroup group;
  group.chunks = (most + chunk - 1) / chunk;
  const bool shared = p.pos_stride == 0;
  const size_t starts = group.chunks * (cells.count() + 1), listed = 3 * group.chunks * chunk;
  const size_t of_image = Scratch::bytes_of<SnappedVertex>(shared ? 0 : p.V) + 4 * (starts + listed);
  const int64_t images = max<int64_t>(1, min<int64_t>(p.N, kScratchBytes / max<size_t>(1, of_image)));
  const int64_t pixels = int64_t(cells.height) * DepthCell::stride_for(cells.width);
  const int64_t buffer = (p.previous ? 4 : 2) * pixels + pixels / kSegment + 16;
  const size_t vertices = shared ? p.V : images * p.V;
  Scratch scratch(Scratch::bytes_of<SnappedVertex>(vertices) + Scratch::bytes_of<int32_t>(images * (starts + listed)) +
                  Scratch::bytes_of<int32_t>(threads * (buffer + 2 * chunk)));
  SnappedVertex* snapped = scratch.take<SnappedVertex>(vertices);
  int32_t* lists = scratch.take<int32_t>(images * (starts + listed));
  int32_t* buffers = scratch.take<int32_t>(threads * (buffer + 2 * chunk));
  for (group.begin = 0; group.begin < p.N; group.begin = group.end) {
    group.end = min(p.N, group.begin + images);
    if (!shared || group.begin == 0) {
      snap_vertices(p, group.begin * p.V, shared ? p.V : (group.end - group.begin) * p.V, snapped);
    }
    group.bins.resize((group.end - group.begin) * group.chunks);
    for (size_t k = 0; k < group.bins.size(); ++k) {
      int32_t* of_bin = lists + k * (cells.count() + 1 + 3 * chunk);
      group.bins[k] = {of_bin, of_bin + 3 * chunk, of_bin + 2 * chunk, 0};
    }
    fill_bins(p, snapped, cells, chunk, buffers + threads * buffer, &group);
    prepare_large_ones(p, &group);
    draw_cells(p, cells, group, snapped, buffers, buffer);
  }
}
