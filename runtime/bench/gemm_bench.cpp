// Operands, timing and printing.
#include "runtime/bench/gemm_bench.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <set>

#include "kernels/base/median.hpp"
#include "kernels/base/random.hpp"
#include "kernels/cpu/features.hpp"
#include "kernels/gemm/gemm.hpp"
#include "kernels/gemm/peak.hpp"
#include "runtime/engine/clock.hpp"

namespace sluice::bench {
namespace {

using engine::Clock;
using engine::seconds_since;
using kernels::ComputeContext;
using kernels::Layout;
using kernels::PackedB;

// Small numbers in [-1, 1): sums stay far from overflow and from denormals.
Tensor random_tensor(const ComputeContext& context, DType dtype, Shape shape) {
  constexpr std::int64_t kPeriod = 4099;  // prime: no two rows are alike
  const Tensor t = context.make(dtype, shape);
  const Random random(1, RandomPurpose::kBench);
  std::vector<float> values;
  for (std::uint64_t i = 0; i < kPeriod; ++i) values.push_back(2 * random.uniform(i) - 1);
  for (std::int64_t i = 0; i < shape.count(); ++i) {
    const float value = values[static_cast<std::size_t>(i % kPeriod)];
    if (dtype == DType::kF32) {
      t.values<float>()[static_cast<std::size_t>(i)] = value;
    } else {
      t.values<BF16>()[static_cast<std::size_t>(i)] = BF16::from_float(value);
    }
  }
  return t;
}

// Tokens by expert, `top_k` different experts a token, drawn evenly.
struct Groups {
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> offsets{0};
};

Groups route(std::int64_t tokens, std::int64_t experts, std::int64_t top_k) {
  const Random random(2, RandomPurpose::kBench);
  std::vector<std::vector<std::int32_t>> chosen(static_cast<std::size_t>(experts));
  std::uint64_t draw = 0;
  for (std::int64_t token = 0; token < tokens; ++token) {
    std::set<std::uint64_t> mine;
    while (static_cast<std::int64_t>(mine.size()) < top_k) {
      mine.insert(random.below(static_cast<std::uint64_t>(experts), draw++));
    }
    for (const std::uint64_t expert : mine) {
      chosen[expert].push_back(static_cast<std::int32_t>(token));
    }
  }
  Groups groups;
  for (const std::vector<std::int32_t>& of_expert : chosen) {
    groups.tokens.insert(groups.tokens.end(), of_expert.begin(), of_expert.end());
    groups.offsets.push_back(static_cast<std::int32_t>(groups.tokens.size()));
  }
  return groups;
}

// What is called again and again; owns its operands.
using Call = std::function<void()>;

Call plain_call(const ComputeContext& context, const GemmTask& task, DType dtype) {
  const Tensor a = random_tensor(context, dtype, Shape{task.m, task.k});
  const Tensor b = random_tensor(context, dtype, Shape{task.k, task.n});
  const Tensor c = context.make(DType::kF32, Shape{task.m, task.n});
  return [=] { gemm(context, a.view(), Layout::kNormal, b.view(), Layout::kNormal, c.view()); };
}

// Weights [outputs, inputs] packed as forward or input-gradient products read them.
std::shared_ptr<std::deque<PackedB>> packed_weights(const ComputeContext& context,
                                                    const GemmTask& task, DType dtype) {
  auto packed = std::make_shared<std::deque<PackedB>>(static_cast<std::size_t>(task.groups));
  const bool forward = task.use == GemmUse::kForward;
  const Tensor w =
      random_tensor(context, dtype, forward ? Shape{task.n, task.k} : Shape{task.k, task.n});
  for (PackedB& one : *packed) {
    one.pack(context, w.view(), forward ? Layout::kTransposed : Layout::kNormal);
  }
  return packed;
}

Call activation_call(const ComputeContext& context, const GemmTask& task, DType dtype) {
  const auto weights = packed_weights(context, task, dtype);
  const Tensor c = context.make(dtype, Shape{task.m, task.n});
  if (task.top_k == 0) {
    const Tensor a = random_tensor(context, dtype, Shape{task.m, task.k});
    return [=] { gemm(context, a.view(), Layout::kNormal, weights->front(), c.view()); };
  }
  const std::int64_t tokens = task.m / task.top_k;
  Groups groups = route(tokens, task.groups, task.top_k);
  if (!task.gathers_tokens) groups.tokens.clear();
  const std::int64_t rows = task.gathers_tokens ? tokens : task.m;
  const Tensor a = random_tensor(context, dtype, Shape{rows, task.k});
  std::vector<const PackedB*> b;
  for (const PackedB& one : *weights) b.push_back(&one);
  return [=] {
    (void)weights;
    grouped_gemm(context, a.view(), groups.tokens, groups.offsets, b, c.view());
  };
}

Call weight_gradient_call(const ComputeContext& context, const GemmTask& task, DType dtype) {
  const Tensor a = random_tensor(context, dtype, Shape{task.k, task.m});
  if (task.top_k == 0) {
    const Tensor b = random_tensor(context, dtype, Shape{task.k, task.n});
    const Tensor c = random_tensor(context, DType::kF32, Shape{task.m, task.n});
    return [=] {
      gemm(context, a.view(), Layout::kTransposed, b.view(), Layout::kNormal, c.view(), true);
    };
  }
  const std::int64_t tokens = task.k / task.top_k;
  Groups groups = route(tokens, task.groups, task.top_k);
  if (!task.gathers_tokens) groups.tokens.clear();
  const std::int64_t rows = task.gathers_tokens ? tokens : task.k;
  const Tensor b = random_tensor(context, dtype, Shape{rows, task.n});
  const Tensor c = random_tensor(context, DType::kF32, Shape{task.groups, task.m, task.n});
  std::vector<TensorView> parts;
  for (std::int64_t g = 0; g < task.groups; ++g) {
    parts.push_back(c.view().rows_from(g * task.m, task.m));
  }
  return [=] {
    (void)c;
    grouped_gemm_weights(context, a.view(), b.view(), groups.tokens, groups.offsets, parts);
  };
}

Call make_call(const ComputeContext& context, const GemmTask& task, DType dtype) {
  switch (task.use) {
    case GemmUse::kForward:
    case GemmUse::kInputGradient: return activation_call(context, task, dtype);
    case GemmUse::kWeightGradient: return weight_gradient_call(context, task, dtype);
    case GemmUse::kPlain: break;
  }
  return plain_call(context, task, dtype);
}

GemmBenchRow measure(const ComputeContext& context, const GemmTask& task,
                     const GemmBenchOptions& options) {
  constexpr std::size_t kRepetitionsMin = 5;
  const Call call = make_call(context, task, options.operands);
  call();  // the first one fills caches and pools
  std::vector<double> seconds, peaks;
  const auto start = Clock::now();
  while (seconds.size() < kRepetitionsMin || seconds_since(start) < options.seconds_a_row) {
    const auto before = Clock::now();
    call();
    seconds.push_back(seconds_since(before));
    const double burst = std::clamp(seconds.back() / 4, 1e-4, 2e-3);
    peaks.push_back(kernels::measure_peak_gflops(context, options.operands, burst));
  }
  GemmBenchRow row{.task = task, .seconds = median(seconds), .peak_gflops = median(peaks)};
  row.gflops = kernels::gemm_operations(task.m, task.n, task.k) / row.seconds * 1e-9;
  return row;
}

// "quick/" of "quick/q_b_proj/forward": the parts of the report, in the order of its rows.
std::vector<std::string> prefixes(const GemmBenchReport& report) {
  std::vector<std::string> found;
  for (const GemmBenchRow& row : report.rows) {
    const std::string prefix = row.task.name.substr(0, row.task.name.find('/') + 1);
    if (found.empty() || found.back() != prefix) found.push_back(prefix);
  }
  return found;
}

}  // namespace

double GemmBenchReport::weighted_ratio(const std::string& prefix) const {
  double taken = 0;
  double at_peak = 0;
  for (const GemmBenchRow& row : rows) {
    if (!row.task.name.starts_with(prefix)) continue;
    const double seconds = row.seconds * static_cast<double>(row.task.calls);
    taken += seconds;
    at_peak += seconds * row.ratio();
  }
  return taken > 0 ? at_peak / taken : 0;
}

GemmBenchReport run_gemm_bench(const ComputeContext& context, const std::vector<GemmTask>& tasks,
                               const GemmBenchOptions& options) {
  GemmBenchReport report;
  report.kernel_set = kernels::gemm_kernel_set_name(context, options.operands);
  report.threads = context.team->threads();
  for (const GemmTask& task : tasks) {
    if (task.name.find(options.filter) == std::string::npos) continue;
    report.rows.push_back(measure(context, task, options));
  }
  return report;
}

std::string to_table(const GemmBenchReport& report) {
  std::string out = fmt::format("{}\nkernel set {}, threads {}\n", kernels::cpu_description(),
                                report.kernel_set, report.threads);
  out += fmt::format("{:<44} {:>6} {:>6} {:>6} {:>6} {:>9} {:>9} {:>9} {:>6}\n", "product", "m",
                     "n", "k", "groups", "ms", "GFLOP/s", "peak", "ratio");
  for (const GemmBenchRow& row : report.rows) {
    const GemmTask& t = row.task;
    out += fmt::format("{:<44} {:>6} {:>6} {:>6} {:>6} {:>9.3f} {:>9.1f} {:>9.1f} {:>6.2f}\n",
                       t.name, t.m, t.n, t.k, t.groups, row.seconds * 1e3, row.gflops,
                       row.peak_gflops, row.ratio());
  }
  for (const std::string& prefix : prefixes(report)) {
    out += fmt::format("{}* weighted by duration: {:.2f} of peak\n", prefix,
                       report.weighted_ratio(prefix));
  }
  return out;
}

nlohmann::json to_json(const GemmBenchReport& report) {
  nlohmann::json rows = nlohmann::json::array();
  for (const GemmBenchRow& row : report.rows) {
    rows.push_back({{"name", row.task.name},
                    {"m", row.task.m},
                    {"n", row.task.n},
                    {"k", row.task.k},
                    {"groups", row.task.groups},
                    {"calls_per_step", row.task.calls},
                    {"seconds", row.seconds},
                    {"gflops", row.gflops},
                    {"peak_gflops", row.peak_gflops},
                    {"ratio", row.ratio()}});
  }
  nlohmann::json weighted = nlohmann::json::object();
  for (const std::string& prefix : prefixes(report)) {
    weighted[prefix.substr(0, prefix.size() - 1)] = report.weighted_ratio(prefix);
  }
  return {{"cpu", kernels::cpu_description()},
          {"isa", report.kernel_set},
          {"threads", report.threads},
          {"rows", rows},
          {"weighted_ratio", weighted}};
}

}  // namespace sluice::bench
