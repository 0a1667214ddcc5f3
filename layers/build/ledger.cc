#include "layers/build/ledger.h"

#include <ctime>

#include <utility>

#include "layers/base/fault.h"

namespace surcoat::build {
namespace {

/// A row's last use is noted when it is this old: an exact time is worth no disk flush on every build.
constexpr std::int64_t kTouchSeconds = 3600;

}  // namespace

Transaction& Ledger::transaction() {
    if (!transaction_) transaction_.emplace(store_, "build");
    return *transaction_;
}

DiffId Ledger::add(const StepKey& key, const std::vector<Entry>& entries) {
    const DiffId layer = transaction().add_layer(entries);
    rows_.push_back({key.hex(), key.parts_json(), layer, std::time(nullptr)});
    return layer;
}

std::optional<DiffId> Ledger::find(const StepKey& key) {
    const std::string hex = key.hex();
    for (const CacheRow& row : rows_) {
        if (row.key == hex) return row.layer;
    }
    const auto row = store_.catalogue().cache(hex);
    if (!row || !row->layer) return std::nullopt;
    // Held first, looked at again then: a gc between the two would otherwise take it.
    try {
        lease_.hold_layers({&*row->layer, 1});
    } catch (const Error& e) {
        if (e.code() != Errc::not_found) throw;
        return std::nullopt;
    }
    if (row->used_at + kTouchSeconds < std::time(nullptr)) used_.push_back(hex);
    return row->layer;
}

void Ledger::flush() {
    // Taken out first: a publication that failed must not be tried again.
    std::optional<Transaction> transaction = std::exchange(transaction_, std::nullopt);
    const std::vector<CacheRow> rows = std::exchange(rows_, {});
    const std::vector<std::string> used = std::exchange(used_, {});
    const auto write_rows = [&](Catalogue::Write& write) {
        // Leased in the same write that publishes them: a gc finds them held or not at all.
        for (const CacheRow& row : rows) lease_.hold_layers(write, {&*row.layer, 1});
        for (const CacheRow& row : rows) write.put_cache(row);
        for (const std::string& key : used) write.touch_cache(key);
    };
    if (!transaction) {
        if (!used.empty()) store_.catalogue().write(write_rows);
        return;
    }
    fault_point("build.before_publish");
    transaction->commit(write_rows);
    fault_point("build.after_publish");
}

}  // namespace surcoat::build
