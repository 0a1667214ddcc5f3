#pragma once
#include <optional>
#include <string>
#include <vector>

#include "layers/build/step_key.h"
#include "layers/store/lease.h"
#include "layers/store/transaction.h"

namespace surcoat::build {

/// Layers and cache rows that a build has made but not yet published. Cheap steps (COPY, WORKDIR) share one
/// publication, because each costs a few disk flushes; it happens before a RUN, when a step fails, and at
/// the end. Layers are leased before they are published, so that no gc can come between.
class Ledger {
  public:
    Ledger(Store& store, Lease& lease) : store_(store), lease_(lease) {}

    /// The transaction in which the next contents are staged.
    Transaction& transaction();
    /// Stages the layer of `entries` and remembers the step's key for it.
    DiffId add(const StepKey& key, const std::vector<Entry>& entries);
    /// What the key's step gave before, if its layer is still there: it is leased from then on.
    std::optional<DiffId> find(const StepKey& key);
    /// Publishes everything so far. Whether it returns or throws, nothing is pending afterwards.
    void flush();

  private:
    Store& store_;
    Lease& lease_;
    std::optional<Transaction> transaction_;
    std::vector<CacheRow> rows_;
    std::vector<std::string> used_;
};

}  // namespace surcoat::build
