// A team of threads that run one function together: the arithmetic units of a CPU device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace sluice::kernels {

/// Fork and join. `run` is called by one thread at a time (the device lane). Results of kernels
/// never depend on the number of threads: work is split over rows and columns, never along a sum.
class ThreadTeam {
 public:
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  [[nodiscard]] int threads() const;

  /// Calls body(0) on the caller and body(thread), thread = 1 .. threads()-1, on those of the
  /// others that are awake before body(0) is over; returns when all these have. So a body takes its
  /// work from what is shared (WorkShares) until nothing is left: a core that another program has
  /// is not waited for.
  void run(const std::function<void(int)>& body);

  /// Calls body(first, last) on pieces of [0, count) of at least `grain` items, handed out as
  /// threads come free. A thread begins with its own share of the range, the same in every loop
  /// over so many items, and so mostly meets data that it wrote itself.
  void parallel_for(std::int64_t count, std::int64_t grain,
                    const std::function<void(std::int64_t, std::int64_t)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::kernels
