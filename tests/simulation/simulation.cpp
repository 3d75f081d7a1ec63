// Draws faults, runs the cluster, starts it again from its last checkpoint.
#include "tests/simulation/simulation.hpp"

#include <algorithm>
#include <bit>

#include "kernels/base/digest.hpp"
#include "kernels/base/sometimes.hpp"
#include "runtime/engine/folder_store.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/settings.hpp"
#include "runtime/host/sim_host.hpp"
#include "tests/simulation/simulated_disk.hpp"

namespace sluice::simulation {
namespace {

namespace fs = std::filesystem;
using config::FaultPlan;

constexpr std::int64_t kNsOfUs = 1000;
constexpr std::int64_t kNsOfMs = 1'000'000;

// Tokens as a function of step, micro-batch and position.
class Reader final : public actors::SampleReader {
 public:
  explicit Reader(std::int64_t vocab_size) : vocab_size_(vocab_size) {}
  Status read(actors::StepMode mode, std::int64_t index, std::int32_t micro_batch,
              Tensor tokens) override {
    const Random random(
        static_cast<std::uint64_t>(micro_batch), RandomPurpose::kTest,
        static_cast<std::uint64_t>(2 * index) + (mode == actors::StepMode::kTrain ? 1 : 0));
    std::uint64_t position = 0;
    for (std::int32_t& id : tokens.values<std::int32_t>()) {
      id = static_cast<std::int32_t>(
          random.below(static_cast<std::uint64_t>(vocab_size_), position++));
    }
    return {};
  }

 private:
  std::int64_t vocab_size_;
};

class Store final : public actors::CheckpointStore {
 public:
  void open(engine::FolderStore folder) { folder_.emplace(std::move(folder)); }
  void set_disk(SimulatedDisk* disk) { disk_ = disk; }
  Result<std::string> write(std::int64_t index,
                            std::span<const actors::ParameterState> parameters) override {
    if (disk_ == nullptr) return folder_->write(index, parameters, {});
    const SimulatedDisk::Scope scope(*disk_);
    return folder_->write(index, parameters, {});
  }

 private:
  std::optional<engine::FolderStore> folder_;
  SimulatedDisk* disk_ = nullptr;
};

std::uint64_t digest_of(const actors::StepReport& report) {
  const std::array<std::uint64_t, 3> bits{std::bit_cast<std::uint64_t>(report.main),
                                          std::bit_cast<std::uint64_t>(report.balance),
                                          std::bit_cast<std::uint64_t>(report.gradient_norm)};
  return digest(std::as_bytes(std::span(bits)));
}

// Copies of one weight count as one, and must be alike.
Status note_parameters(engine::Cluster& cluster, Weights& weights) {
  return cluster.for_each_owner([&](model::ParameterSet& set) -> Status {
    for (const model::Parameter& p : set.all()) {
      std::uint64_t bits = digest(p.master, static_cast<std::uint64_t>(p.updates));
      if (!p.m.empty()) bits = digest(p.v, digest(p.m, bits));
      const auto [found, is_new] = weights.parameters.emplace(p.name, bits);
      if (!is_new && found->second != bits) return failed("two holders of {} differ", p.name);
    }
    return {};
  });
}

// Whatever bears a step's name is whole, and nothing else is there once a new start has tidied up.
Status check_folder(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name == ".lock") continue;
    if (!name.starts_with("step-")) return failed("{} was left in {}", name, folder.string());
    SLUICE_TRY(store::check_whole(entry.path()));
  }
  return {};
}

// Numbers of one seed, in the order in which they are asked for.
class Draws {
 public:
  Draws(std::uint64_t seed, std::uint64_t start)
      : random_(seed, RandomPurpose::kSimulation, 2 + start) {}
  std::uint64_t operator()(std::uint64_t n) { return random_.below(n, count_++); }
  std::int64_t up_to(std::int64_t most) {
    return static_cast<std::int64_t>((*this)(static_cast<std::uint64_t>(most) + 1));
  }
  // None at all for one seed in four: then faults come alone.
  double share(double most) {
    const bool none = (*this)(4) == 0;
    const double drawn = most * static_cast<double>(random_.uniform(count_++));
    return none ? 0 : drawn;
  }

 private:
  Random random_;
  std::uint64_t count_ = 0;
};

host::Faults draw_faults(const FaultPlan& plan, std::int32_t ranks, std::int64_t start,
                         Draws& draw) {
  host::Faults faults;
  faults.lost = draw.share(plan.link.lost);
  faults.duplicated = draw.share(plan.link.duplicated);
  faults.late = draw.share(plan.link.late);
  faults.late_ns_max = plan.link.late_us_max * kNsOfUs;
  faults.stream.timeout_ns = kNsOfMs + draw.up_to(3 * plan.link.delay_us_max * kNsOfUs);
  faults.stream.timeout_ns_max = 16 * faults.stream.timeout_ns;
  // At one frame in two lost, a round trip fails three times in four: 0.75^100 is never.
  faults.stream.attempts_max = plan.worker.deaths > 0 ? 30 : 100;
  const std::int64_t slow = draw.up_to(plan.device.slow_ranks);
  for (std::int64_t i = 0; i < slow; ++i) {
    const auto rank = static_cast<std::int32_t>(draw(static_cast<std::uint64_t>(ranks)));
    const double factor = 1 + draw.share(plan.device.slow_factor_max - 1);
    const std::int64_t from = draw.up_to(50) * kNsOfMs;
    faults.slow_devices.push_back({rank, factor, from, from + draw.up_to(200) * kNsOfMs});
  }
  if (start < plan.worker.deaths) {
    const auto rank = static_cast<std::int32_t>(draw(static_cast<std::uint64_t>(ranks)));
    faults.dead_worker = {rank, draw.up_to(plan.worker.dies_ms_max * kNsOfMs),
                          draw.up_to(plan.worker.silence_ms_max * kNsOfMs)};
  }
  return faults;
}

// One start of a run, from its newest checkpoint to the end or to a fault that ends it.
class Start {
 public:
  Start(const FaultPlan& plan, const config::Config& config, const fs::path& folder)
      : plan_(plan), config_(config), folder_(folder) {}

  enum class End { kDone, kWorkerLost, kDiskFull };
  Result<End> run(std::uint64_t seed, std::int64_t number, Draws& draw, Run& out) {
    SLUICE_TRY(prepare(seed, number, draw));
    SLUICE_TRY(begin());
    auto end = listen(out.weights);
    out.virtual_ns += sim_->now_ns();
    const std::array<std::uint64_t, 3> facts{out.trace, sim_->trace_digest(), sim_->next_random()};
    out.trace = digest(std::as_bytes(std::span(facts)));
    if (end && *end == End::kDone) SLUICE_TRY(note_parameters(*cluster_, out.weights));
    static_cast<void>(cluster_->stop());
    return end;
  }

 private:
  Status prepare(std::uint64_t seed, std::int64_t number, Draws& draw) {
    SLUICE_ASSIGN(model_, config::load_model(config_));
    SLUICE_ASSIGN(engine::ClusterOptions options, engine::cluster_options(config_, model_));
    reader_.emplace(model_.vocab_size);
    options.reader = &*reader_;
    options.store = &store_;
    options.supervisor.evaluate_every = config_.train.validation_every;
    options.supervisor.evaluate_micro_batches =
        static_cast<std::int32_t>(config_.train.validation_samples);
    options.supervisor.checkpoint_every = config_.checkpoint.every_steps;
    const auto ranks = options.plan.pipeline_parallel_size * options.plan.expert_parallel_size;
    host::SimHost::Config sim;
    sim.seed = seed * 64 + static_cast<std::uint64_t>(number);
    sim.message = {100, plan_.link.delay_us_max * kNsOfUs};
    sim.task = {1000, plan_.device.task_us_max * kNsOfUs};
    sim.events_max = 20'000'000;
    sim.faults = faults_ = draw_faults(plan_, ranks, number, draw);
    if (plan_.disk.full && number == 0) {
      disk_.emplace(draw.up_to(plan_.disk.calls_max));
      store_.set_disk(&*disk_);
    }
    options.host = [this, sim](device::CpuDevice& device) mutable {
      sim.compute = device.context();
      auto host = std::make_unique<host::SimHost>(std::move(sim));
      sim_ = host.get();
      return host;
    };
    SLUICE_ASSIGN(cluster_, engine::Cluster::create(std::move(options)));
    return {};
  }

  Status begin() {
    store::CheckpointLayout layout =
        engine::checkpoint_layout(*cluster_, model_, model::Recipe::kFp32, {});
    SLUICE_ASSIGN(auto directory, store::CheckpointDirectory::open(folder_, std::move(layout),
                                                                   config_.checkpoint.keep));
    SLUICE_TRY(check_folder(folder_));
    store::TrainerState state;
    state.recipe = "fp32";
    store_.open({std::move(directory), std::move(state), config_.train.global_batch_size});
    if (const auto newest = store::newest_checkpoint(folder_)) {
      SLUICE_ASSIGN(const store::TrainerState from, engine::resume(*cluster_, *newest));
      first_ = from.step;
    } else {
      SLUICE_TRY(engine::initialize_weights(*cluster_, model_, 1));
    }
    return cluster_->start();
  }

  Result<End> listen(Weights& weights) {
    cluster_->command(actors::RunTraining{first_, config_.train.steps});
    for (;;) {
      auto message = cluster_->receive();
      if (!message) return ended_by(message.error());
      if (const auto* report = std::get_if<actors::StepReport>(&message->body)) {
        SLUICE_TRY(note(*report, weights));
      } else if (const auto* written = std::get_if<actors::CheckpointWritten>(&message->body)) {
        if (!written->error.empty()) return disk_full(written->error);
        safe_ = written->index;
      } else if (std::holds_alternative<actors::Idle>(message->body)) {
        return End::kDone;
      }
    }
  }

  // A step that runs again after a new start says the same.
  static Status note(const actors::StepReport& report, Weights& weights) {
    const std::int64_t key = 2 * report.index + (report.mode == actors::StepMode::kTrain ? 1 : 0);
    const auto [found, is_new] = weights.steps.emplace(key, digest_of(report));
    if (is_new || found->second == digest_of(report)) return {};
    return failed("step {} reports something else when it runs again", report.index);
  }

  Result<End> ended_by(const Error& error) {
    const auto& dead = faults_.dead_worker;
    if (!dead) return tl::unexpected(error);
    const std::string name = fmt::format("the worker of rank {} (", dead->rank);
    if (error.message.find(name) == std::string::npos) return tl::unexpected(error);
    SLUICE_SOMETIMES(safe_ < 0 && first_ == 0, "a worker dies before the first checkpoint");
    SLUICE_SOMETIMES(safe_ > 0, "a worker dies after a checkpoint");
    SLUICE_TRY(check_newest());
    return End::kWorkerLost;
  }

  Result<End> disk_full(const std::string& error) {
    if (!disk_ || !disk_->was_full()) return failed("a checkpoint failed by itself: {}", error);
    const bool is_clear = error.find("No space left on device") != std::string::npos &&
                          error.find("free some space") != std::string::npos &&
                          error.find(folder_.string()) != std::string::npos;
    if (!is_clear) return failed("a full disk is not explained: {}", error);
    SLUICE_SOMETIMES(safe_ < 0, "the disk is full at the first checkpoint");
    SLUICE_SOMETIMES(safe_ > 0, "the disk is full at a later checkpoint");
    SLUICE_TRY(check_folder(folder_));
    SLUICE_TRY(check_newest());
    return End::kDiskFull;
  }

  // What was reported to be safe is there.
  Status check_newest() const {
    const auto newest = store::newest_checkpoint(folder_);
    if (safe_ < 0) return {};
    if (!newest) return failed("the checkpoint of step {} is gone", safe_);
    SLUICE_ASSIGN(const store::TrainerState state, store::read_trainer_state(*newest));
    if (state.step >= safe_) return {};
    return failed("the checkpoint of step {} is gone; there is {}", safe_, newest->string());
  }

  const FaultPlan& plan_;
  const config::Config& config_;
  fs::path folder_;
  model::ModelConfig model_;
  std::optional<Reader> reader_;
  Store store_;
  std::optional<SimulatedDisk> disk_;
  host::Faults faults_;
  std::unique_ptr<engine::Cluster> cluster_;  // uses reader_ and store_
  host::SimHost* sim_ = nullptr;              // in cluster_
  std::int64_t first_ = 0;
  std::int64_t safe_ = -1;
};

Result<config::Config> config_of(const FaultPlan& plan, const std::vector<std::string>& sets) {
  return config::load_config(plan.file.parent_path() / plan.workload.config, sets);
}

// Another layout for a new start, where it gives the same numbers.
Result<config::Config> config_of_start(const FaultPlan& plan, const config::Config* before,
                                       Draws& draw) {
  SLUICE_ASSIGN(config::Config config, config_of(plan, config::draw_settings(plan, draw)));
  if (before == nullptr) return config;
  const bool is_same = config::numerics_digest(config) == config::numerics_digest(*before);
  SLUICE_SOMETIMES(
      is_same && config.topology.pipeline_parallel_size != before->topology.pipeline_parallel_size,
      "a run goes on with another number of stages");
  return is_same ? config : *before;
}

}  // namespace

std::vector<std::string> settings_of_seed(const FaultPlan& plan, std::uint64_t seed) {
  Draws draw(seed, 0);
  return config::draw_settings(plan, draw);
}

Result<Run> simulate(const FaultPlan& plan, std::uint64_t seed, const fs::path& folder) {
  constexpr std::int64_t kStartsMax = 20;
  Run run;
  std::optional<config::Config> config;
  for (; run.starts < kStartsMax;) {
    Draws draw(seed, static_cast<std::uint64_t>(run.starts));
    SLUICE_ASSIGN(config, config_of_start(plan, config ? &*config : nullptr, draw));
    Start start(plan, *config, folder);
    SLUICE_ASSIGN(const Start::End end, start.run(seed, run.starts, draw, run));
    ++run.starts;
    if (end == Start::End::kDone) return run;
  }
  return failed("{} starts, and no end", kStartsMax);
}

Result<Weights> Undisturbed::weights(const FaultPlan& plan, const std::vector<std::string>& sets) {
  SLUICE_ASSIGN(config::Config config, config_of(plan, sets));
  config.train.gradient_shards = config.gradient_shards();
  config.topology = {};
  config.schedule = {};
  config.checkpoint.every_steps = 0;
  const std::string key = fmt::format("{} {} {}", plan.workload.config,
                                      config::numerics_digest(config), config.train.steps);
  const std::lock_guard lock(mutex_);
  if (const auto found = known_.find(key); found != known_.end()) return found->second;
  FaultPlan calm;
  Draws draw(0, 0);
  Run run;
  const fs::path folder = fs::temp_directory_path() / fmt::format("sluice-calm-{}", ::getpid());
  const store::TemporaryTree tree(folder);
  SLUICE_ASSIGN(const Start::End end, Start(calm, config, folder).run(0, 0, draw, run));
  SLUICE_CHECK(end == Start::End::kDone);
  return known_.emplace(key, std::move(run.weights)).first->second;
}

Status compare(const Weights& got, const Weights& expected) {
  for (const auto& [step, bits] : expected.steps) {
    const auto found = got.steps.find(step);
    if (found == got.steps.end()) return failed("step {} was not reported", step / 2);
    if (found->second != bits) return failed("step {} reports other losses", step / 2);
  }
  for (const auto& [name, bits] : expected.parameters) {
    const auto found = got.parameters.find(name);
    if (found == got.parameters.end()) return failed("{} is not there", name);
    if (found->second != bits) return failed("{} differs at the end", name);
  }
  if (got == expected) return {};
  return failed("more steps or parameters than there should be");
}

}  // namespace sluice::simulation
