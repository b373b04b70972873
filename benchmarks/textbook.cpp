// The textbook structure that benchmarks/hull.py measures against: per head, for each half of the hull, a balanced
// tree of lines kept in order of slope, each with the point up to which it is the highest ("line container").
//
// A key (x, y) is the line x * t + y, and for qy > 0 the best key for a query is the highest line at t = qx / qy; the
// lower half holds (x, -y). Breakpoints are long doubles and nodes come from a pool, as a careful author would write it.
// It is right on generic data only: rounding and ties are not its concern.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <vector>

namespace {

// Nodes of one size, handed out from chunks and reused in last-in, first-out order.
class Pool {
public:
  void *take(std::size_t size) {
    if (free_) {
      void *p = free_;
      free_ = *static_cast<void **>(p);
      return p;
    }
    size = (size + 15) & ~std::size_t(15);
    if (left_ < size) {
      left_ = size * 4096;
      chunks_.emplace_back(new char[left_ + 16]);
      next_ = reinterpret_cast<char *>((reinterpret_cast<std::uintptr_t>(chunks_.back().get()) + 15) & ~std::uintptr_t(15));
    }
    void *p = next_;
    next_ += size;
    left_ -= size;
    return p;
  }
  void give(void *p) {
    *static_cast<void **>(p) = free_;
    free_ = p;
  }

private:
  void *free_ = nullptr;
  char *next_ = nullptr;
  std::size_t left_ = 0;
  std::vector<std::unique_ptr<char[]>> chunks_;
};

template <class T> struct PoolAllocator {
  using value_type = T;
  Pool *pool;
  explicit PoolAllocator(Pool *p) : pool(p) {}
  template <class U> PoolAllocator(const PoolAllocator<U> &o) : pool(o.pool) {}
  T *allocate(std::size_t n) { return static_cast<T *>(pool->take(n * sizeof(T))); }
  void deallocate(T *p, std::size_t) { pool->give(p); }
  template <class U> bool operator==(const PoolAllocator<U> &o) const { return pool == o.pool; }
};

struct Line {
  double slope, offset;
  mutable long double until;   // the highest line up to here
  mutable std::int64_t position;
  bool operator<(const Line &o) const { return slope < o.slope; }
  bool operator<(long double t) const { return until < t; }
};

class Half {
  using Lines = std::multiset<Line, std::less<>, PoolAllocator<Line>>;

public:
  Half() : lines_(std::less<>(), PoolAllocator<Line>(&pool_)) {}

  void insert(double slope, double offset, std::int64_t position) {
    auto z = lines_.insert(Line{slope, offset, 0, position}), y = z++, x = y;
    while (meet(y, z)) z = lines_.erase(z);
    if (x != lines_.begin() && meet(--x, y)) meet(x, y = lines_.erase(y));
    while ((y = x) != lines_.begin() && (--x)->until >= y->until) meet(x, lines_.erase(y));
  }

  std::int64_t best(long double t) const { return lines_.lower_bound(t)->position; }
  std::size_t size() const { return lines_.size(); }

private:
  // Sets how far `x` is the highest before `y` takes over; true when `y` never does.
  bool meet(Lines::iterator x, Lines::iterator y) {
    if (y == lines_.end()) {
      x->until = std::numeric_limits<long double>::infinity();
      return false;
    }
    if (x->slope == y->slope) {
      if (x->offset == y->offset) x->position = std::max(x->position, y->position); // the latest
      x->until = x->offset >= y->offset ? std::numeric_limits<long double>::infinity()
                                        : -std::numeric_limits<long double>::infinity();
    } else {
      x->until = (static_cast<long double>(y->offset) - x->offset) / (static_cast<long double>(x->slope) - y->slope);
    }
    return x->until >= y->until;
  }

  Pool pool_;
  Lines lines_;
};

struct Head {
  Half upper, lower;
  std::int64_t left = 0, right = 0; // the answers for qy = 0
};

inline std::int64_t step(Head &head, const double *keys, std::int64_t j, double qx, double qy) {
  double x = keys[2 * j], y = keys[2 * j + 1];
  head.upper.insert(x, y, j);
  head.lower.insert(x, -y, j);
  if (x <= keys[2 * head.left]) head.left = j;
  if (x >= keys[2 * head.right]) head.right = j;
  if (qy > 0) return head.upper.best(static_cast<long double>(qx) / qy);
  if (qy < 0) return head.lower.best(static_cast<long double>(qx) / -qy);
  return qx < 0 ? head.left : head.right;
}

} // namespace

extern "C" {

// One key appended and one query answered per step, for `heads` streams side by side: keys and queries are
// [head][step][2] doubles, values [head][step][width]; `out` is [head][width], overwritten by each step, and `best`
// (when given) [head][step], the winners. Returns the number of lines at the end.
std::int64_t textbook_steps(std::int64_t heads, std::int64_t steps, const double *keys, const double *queries,
                            const double *values, std::int64_t width, double *out, std::int64_t *best) {
  std::vector<std::unique_ptr<Head>> all;
  for (std::int64_t h = 0; h < heads; ++h) all.emplace_back(new Head);
  for (std::int64_t j = 0; j < steps; ++j) {
    for (std::int64_t h = 0; h < heads; ++h) {
      const double *q = queries + 2 * (h * steps + j);
      std::int64_t winner = step(*all[h], keys + 2 * h * steps, j, q[0], q[1]);
      const double *row = values + width * (h * steps + winner);
      for (std::int64_t c = 0; c < width; ++c) out[h * width + c] = row[c];
      if (best) best[h * steps + j] = winner;
    }
  }
  std::int64_t lines = 0;
  for (auto &head : all) lines += head->upper.size() + head->lower.size();
  return lines;
}
}
