// Puts a run together and listens to it.
#include "runtime/engine/trainer.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "kernels/base/median.hpp"
#include "runtime/data/dataset.hpp"
#include "runtime/engine/clock.hpp"
#include "runtime/engine/dataset_reader.hpp"
#include "runtime/engine/folder_store.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/metrics_log.hpp"
#include "runtime/engine/process_memory.hpp"
#include "runtime/engine/run_recording.hpp"
#include "runtime/engine/settings.hpp"
#include "runtime/host/overlap_meter.hpp"
#include "runtime/store/file.hpp"
#include "runtime/store/hf_config.hpp"
#include "runtime/tokenizer/tokenizer.hpp"
#include "runtime/trace/recorder.hpp"

namespace sluice::engine {
namespace {

Result<Dataset> open_dataset(const config::Config& config, const model::ModelConfig& model,
                             const Tokenizer& tokenizer, const TrainEvents& events) {
  DataConfig data;
  data.paths = config.data.paths;
  data.validation_share = config.data.validation_share;
  data.fim_rate = config.data.fim_rate;
  data.cache_directory = config.data.cache_directory;
  data.seed = static_cast<std::uint64_t>(config.train.seed);
  return Dataset::open(data, tokenizer,
                       {config.train.sequence_length, model.num_nextn_predict_layers},
                       events.on_tokenize);
}

// Checkpoints wait on the storage lane until the metrics that belong to them are in their file:
// killed at any moment, a run that goes on from a checkpoint has all of the lines before it.
class MetricsFirst final : public actors::CheckpointStore {
 public:
  void open(FolderStore folder) { folder_.emplace(std::move(folder)); }
  /// The metrics up to checkpoint `index` are written; `losses` are its own.
  void written(std::int64_t index, const CheckpointLosses& losses) {
    const std::lock_guard lock(mutex_);
    index_ = index;
    losses_ = losses;
    changed_.notify_all();
  }
  /// No more will be: who waits fails.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  Result<std::string> write(std::int64_t index,
                            std::span<const actors::ParameterState> parameters) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return index_ >= index || closed_; });
    if (index_ < index) return failed("the run ended before checkpoint {}", index);
    const CheckpointLosses losses = losses_;
    lock.unlock();
    return folder_->write(index, parameters, losses);
  }

 private:
  std::optional<FolderStore> folder_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t index_ = -1;
  CheckpointLosses losses_;
  bool closed_ = false;
};

class Run {
 public:
  Run(const config::Config& config, const TrainOptions& options, const TrainEvents& events,
      const std::atomic<bool>& stop)
      : config_(config), options_(options), events_(events), stop_(stop) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run() { store_.close(); }  // before the cluster, which waits for its tasks

  Result<TrainOutcome> go() {
    SLUICE_TRY(prepare());
    SLUICE_TRY(make_cluster());
    SLUICE_TRY(set_weights());
    SLUICE_ASSIGN(metrics_, MetricsLog::open(config_.run.directory, facts_.first_step));
    SLUICE_TRY(write_config());
    if (!options_.record.empty()) SLUICE_TRY(begin_recording());
    if (events_.on_start) events_.on_start(facts_);
    SLUICE_TRY(cluster_->start());
    SLUICE_TRY(listen());
    SLUICE_TRY(cluster_->stop());
    static_cast<void>(recorder_.end());  // what went wrong has been told
    outcome_.recorded_bytes = recorder_.size_bytes();
    outcome_.complete = outcome_.next_step >= config_.train.steps;
    outcome_.used_bytes_peak = resident_bytes_peak() - resident_before_;
    return std::move(outcome_);
  }

 private:
  Status prepare() {
    SLUICE_ASSIGN(model_, config::load_model(config_));
    SLUICE_TRY(config::check_model(config_, model_));
    if (config_.data.paths.empty()) {
      return invalid_input(
          "{}: no data; name text or JSONL files, as --set 'data.paths=[\"docs/*.md\"]'",
          config_.where("data.paths"));
    }
    SLUICE_ASSIGN(Tokenizer tokenizer, Tokenizer::load(config_.data.tokenizer));
    tokenizer_.emplace(std::move(tokenizer));
    if (tokenizer_->vocab_size() > model_.vocab_size) {
      return invalid_input(
          "{}: the tokenizer has {} ids, but the model's vocab_size is {}; set model.vocab_size={}",
          config_.where("data.tokenizer"), tokenizer_->vocab_size(), model_.vocab_size,
          tokenizer_->vocab_size());
    }
    // So that whoever generates from a checkpoint stops where its texts stopped.
    model_.bos_token_id =
        tokenizer_->bos_id().value_or(static_cast<std::int32_t>(model_.bos_token_id));
    model_.eos_token_id =
        tokenizer_->eos_id().value_or(static_cast<std::int32_t>(model_.eos_token_id));
    if (options_.resume) SLUICE_TRY(find_start());
    SLUICE_TRY(store::make_directories(config_.run.directory));
    SLUICE_ASSIGN(Dataset dataset, open_dataset(config_, model_, *tokenizer_, events_));
    dataset_.emplace(std::move(dataset));
    reader_.emplace(*dataset_, config_.train.global_batch_size);
    facts_.steps = config_.train.steps;
    facts_.train_tokens = dataset_->train_tokens();
    facts_.validation_tokens = dataset_->validation_tokens();
    facts_.documents = dataset_->documents();
    if (dataset_->validation_samples() > 0)
      facts_.validation_unigram_loss = dataset_->validation_unigram_loss();
    outcome_.validation_unigram_loss = facts_.validation_unigram_loss;
    return {};
  }

  Status make_cluster() {
    resident_before_ = resident_bytes();
    SLUICE_ASSIGN(ClusterOptions options, cluster_options(config_, model_));
    facts_.kernel_set = kernel_set(options.device, options.recipe);
    options.reader = &*reader_;
    options.store = &store_;
    const std::int64_t samples =
        std::min<std::int64_t>(config_.train.validation_samples,
                               static_cast<std::int64_t>(dataset_->validation_samples()));
    const std::int64_t rows = config_.train.micro_batch_size;
    options.supervisor.evaluate_every = config_.train.validation_every;
    options.supervisor.evaluate_micro_batches =
        static_cast<std::int32_t>((samples + rows - 1) / rows);
    options.supervisor.checkpoint_every = config_.checkpoint.every_steps;
    options.supervisor.checkpoint_at_end = true;
    supervisor_ = options.supervisor;
    options.on_stall = events_.on_stall;
    observers_.set(&meter_, options_.record.empty() ? nullptr : &recorder_);
    options.observer = &observers_;
    SLUICE_ASSIGN(cluster_, Cluster::create(options));
    meter_.set_plan(cluster_->plan(), cluster_->device().ranks() == 1);
    for (const graph::RankMemory& memory : cluster_->plan().memory)
      facts_.predicted_bytes += memory.total();
    outcome_.predicted_bytes = facts_.predicted_bytes;

    if (!options_.resume) SLUICE_TRY(set_aside_earlier());
    auto files = tokenizer_->files();
    store::CheckpointLayout layout =
        checkpoint_layout(*cluster_, model_, options.recipe, std::move(files));
    SLUICE_ASSIGN(auto directory,
                  store::CheckpointDirectory::open(config_.checkpoint_directory(),
                                                   std::move(layout), config_.checkpoint.keep));
    store::TrainerState state;
    state.seed = config_.train.seed;
    state.numerics_digest = config::numerics_digest(config_);
    state.recipe = config_.precision.recipe;
    state.kernel_set = facts_.kernel_set;
    store_.open({std::move(directory), std::move(state), config_.train.global_batch_size});
    return {};
  }

  Status set_weights() {
    for (const auto& [name, shape] : cluster_->parameters()) facts_.parameters += shape.count();
    if (!options_.resume) {
      return initialize_weights(*cluster_, model_, static_cast<std::uint64_t>(config_.train.seed));
    }
    SLUICE_ASSIGN(const store::TrainerState state, resume(*cluster_, *resumed_));
    facts_.first_step = state.step;
    facts_.resumed_from = resumed_->string();
    return {};
  }

  // With all that it takes to run the same actors again, wherever this run's files go.
  Status begin_recording() {
    trace::Recording recording = describe_run(config_, model_, supervisor_);
    recording.payloads = options_.payloads;
    recording.first_step = facts_.first_step;
    trace::set_plan(recording, cluster_->plan());
    if (resumed_) {
      recording.checkpoint = resumed_->string();
      SLUICE_TRY(store::make_directories(options_.record));
      SLUICE_TRY(store::link_tree(
          *resumed_, std::filesystem::path(options_.record) / trace::kCheckpointFolder));
    }
    recorder_.measure_memory(
        [device = &cluster_->device()] { return device->allocator().statistics().bytes_in_use; });
    return recorder_.begin(options_.record, recording);
  }

  // Before anything is written: whether there is a checkpoint to go on from, and it is this run's.
  Status find_start() {
    const std::filesystem::path directory = config_.checkpoint_directory();
    resumed_ = store::newest_checkpoint(directory);
    if (!resumed_) {
      return invalid_input(
          "{} holds no whole checkpoint, so there is nothing to go on from; leave out --resume to "
          "begin, or name the run in run.directory",
          directory.string());
    }
    SLUICE_ASSIGN(const store::TrainerState state, store::read_trainer_state(*resumed_));
    SLUICE_TRY(check_numerics(state));
    if (state.step < config_.train.steps) return {};
    return invalid_input("{}: all of its {} steps are done; {} must be higher than {} to go on",
                         resumed_->string(), state.step, config_.where("train.steps"), state.step);
  }

  // A run that begins anew keeps apart from an earlier one in the same folder, whose newest step
  // could pass for its own: the earlier checkpoints move beside, and nothing is lost.
  Status set_aside_earlier() {
    const std::filesystem::path directory =
        (config_.checkpoint_directory() / "").lexically_normal().parent_path();
    if (!store::newest_checkpoint(directory)) return {};
    // Held while it moves: a run that lives there keeps its folder.
    SLUICE_ASSIGN(const store::LockFile lock, store::LockFile::acquire(directory / ".lock"));
    std::error_code error;
    for (int number = 1;; ++number) {
      const std::filesystem::path beside = fmt::format("{}-earlier-{}", directory.string(), number);
      if (std::filesystem::exists(beside, error)) continue;
      facts_.set_aside = beside.string();
      return store::rename_path(directory, beside);
    }
  }

  Status check_numerics(const store::TrainerState& state) const {
    SLUICE_ASSIGN(const store::HfConfig saved, store::read_hf_config(*resumed_));
    const bool same_model = store::write_hf_config(saved.model, DType::kF32) ==
                            store::write_hf_config(model_, DType::kF32);
    if (same_model && state.numerics_digest == config::numerics_digest(config_)) return {};
    const std::filesystem::path used = used_config_path();
    std::string differences;
    if (const auto there = config::load_config(used, {})) {
      for (const std::string& key : config::numerics_differences(config_, *there))
        differences += (differences.empty() ? ": " : ", ") + key;
    }
    return invalid_input(
        "{} was trained with another {}{}; go on with the config of that run ({}), or begin anew "
        "in another run.directory",
        resumed_->string(), same_model ? "config" : "model or config", differences, used.string());
  }

  [[nodiscard]] std::filesystem::path used_config_path() const {
    return std::filesystem::path(config_.run.directory) / "config.toml";
  }

  // The config as it acts: enough to go on with, from the same working directory.
  Status write_config() const {
    config::Config used = config_;
    used.model.config = std::filesystem::absolute(config::model_path(config_)).string();
    if (!config_.schedule.file.empty()) {
      used.schedule.file = std::filesystem::absolute(config::schedule_path(config_)).string();
    }
    return store::write_text(used_config_path(), config::dump_toml(used));
  }

  // Until the supervisor is idle. Ctrl-C is noticed between messages.
  Status listen() {
    cluster_->command(actors::RunTraining{facts_.first_step, config_.train.steps});
    step_began_ = Clock::now();
    bool stopping = false;
    for (;;) {
      SLUICE_ASSIGN(auto message, cluster_->receive_for(std::chrono::milliseconds(50)));
      if (stop_.load() && !stopping) {
        cluster_->command(actors::Stop{});
        stopping = true;
      }
      if (!message) continue;
      if (const auto* idle = std::get_if<actors::Idle>(&message->body)) {
        outcome_.next_step = idle->next;
        return {};
      }
      SLUICE_TRY(take(message->body));
    }
  }

  Status take(const actors::Body& body) {
    if (const auto* report = std::get_if<actors::StepReport>(&body)) {
      return report->mode == actors::StepMode::kTrain ? take_step(*report)
                                                      : take_validation(*report);
    }
    if (const auto* begun = std::get_if<actors::CheckpointBegun>(&body)) {
      store_.written(begun->index, losses_);
    } else if (const auto* written = std::get_if<actors::CheckpointWritten>(&body)) {
      if (!written->error.empty())
        return failed("checkpoint of step {}: {}", written->index, written->error);
      outcome_.checkpoint = written->path;
      if (events_.on_checkpoint) events_.on_checkpoint(written->index, written->path);
    }
    return {};
  }

  Status take_step(const actors::StepReport& report) {
    StepProgress progress;
    progress.report = report;
    progress.seconds = seconds_since(step_began_);
    step_began_ = Clock::now();
    progress.tokens_per_s = static_cast<double>(report.tokens) / progress.seconds;
    const host::OverlapMeter::Shares shares = meter_.take();
    progress.bubble = shares.bubble;
    progress.hidden = shares.hidden;
    progress.steps = config_.train.steps;
    progress.memory_bytes = resident_bytes();
    losses_ = {.training = report.main, .validation = {}};
    progress.eta_s = median_of_recent(progress.seconds) *
                     static_cast<double>(config_.train.steps - report.index - 1);
    SLUICE_TRY(metrics_->step(progress));
    watch_recording();
    if (events_.on_step) events_.on_step(progress);
    return {};
  }

  void watch_recording() {
    const Status status = recorder_.status();
    if (status || recording_lost_) return;
    recording_lost_ = true;
    if (events_.on_recording_lost) events_.on_recording_lost(status.error().message);
  }

  Status take_validation(const actors::StepReport& report) {
    outcome_.validation_loss = losses_.validation = report.main;
    SLUICE_TRY(metrics_->validation(report.index, report, facts_.validation_unigram_loss));
    if (events_.on_validation) events_.on_validation(report.index, report);
    step_began_ = Clock::now();
    return {};
  }

  double median_of_recent(double seconds) {
    constexpr std::size_t kRecent = 25;
    recent_.push_back(seconds);
    if (recent_.size() > kRecent) recent_.pop_front();
    return median({recent_.begin(), recent_.end()});
  }

  const config::Config& config_;
  const TrainOptions& options_;
  const TrainEvents& events_;
  const std::atomic<bool>& stop_;
  model::ModelConfig model_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<Dataset> dataset_;
  std::optional<DatasetReader> reader_;
  MetricsFirst store_;
  trace::Recorder recorder_;
  host::OverlapMeter meter_;
  host::BothObservers observers_;  // of the cluster's host
  actors::Supervisor::Config supervisor_;
  std::unique_ptr<Cluster> cluster_;  // uses reader_, store_ and observers_
  std::optional<MetricsLog> metrics_;
  std::optional<std::filesystem::path> resumed_;  // the checkpoint to go on from
  RunFacts facts_;
  TrainOutcome outcome_;
  CheckpointLosses losses_;  // of the newest weights
  Clock::time_point step_began_;
  std::deque<double> recent_;
  std::int64_t resident_before_ = 0;
  bool recording_lost_ = false;
};

}  // namespace

Result<TrainOutcome> train(const config::Config& config, const TrainOptions& options,
                           const TrainEvents& events, const std::atomic<bool>& stop) {
  return Run(config, options, events, stop).go();
}

}  // namespace sluice::engine
