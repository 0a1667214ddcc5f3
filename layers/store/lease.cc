#include "layers/store/lease.h"

#include <fmt/format.h>

#include <ctime>
#include <utility>

#include "layers/base/error.h"
#include "layers/store/database.h"

namespace surcoat {

Lease::Lease(Store& store, std::string purpose) : store_(&store), id_(0) {
    const ProcessIdentity self = ProcessIdentity::self();
    store.catalogue().write([&](Catalogue::Write& write) {
        write.database().run(
            "INSERT INTO leases(purpose, pid, start_ticks, boot_id, started_at) VALUES(?, ?, ?, ?, ?)",
            purpose, self.pid, self.start_ticks, self.boot_id, std::int64_t{std::time(nullptr)});
        id_ = write.database().last_id();
    });
}

Lease::~Lease() {
    if (store_ == nullptr) return;
    try {
        Database& database = store_->catalogue().database();
        if (!database.in_transaction()) database.run("DELETE FROM leases WHERE number = ?", id_);
    } catch (...) {
        // It ends with this process at the latest.
    }
}

Lease::Lease(Lease&& other) noexcept : store_(std::exchange(other.store_, nullptr)), id_(other.id_) {}

void Lease::hold_layers(Catalogue::Write& write, std::span<const DiffId> layers) {
    for (const DiffId& layer : layers) {
        const auto number = write.database().integer("SELECT number FROM layers WHERE diff_id = ?", layer);
        if (!number) {
            throw Error(Errc::not_found, fmt::format("layer {} is not in the store (any more)", layer.str()))
                .hint("`surcoat gc` may have taken it: pull, import or build it again");
        }
        write.database().run("INSERT INTO lease_layers(lease, layer) VALUES(?, ?) ON CONFLICT DO NOTHING",
                             id_, *number);
    }
}

void Lease::hold_blob(Catalogue::Write& write, const Digest& digest) {
    write.database().run("INSERT INTO lease_blobs(lease, digest) VALUES(?, ?) ON CONFLICT DO NOTHING", id_,
                         digest);
}

void Lease::hold_layers(std::span<const DiffId> layers) {
    store_->catalogue().write([&](Catalogue::Write& write) { hold_layers(write, layers); });
}

void Lease::hold_blob(const Digest& digest) {
    store_->catalogue().write([&](Catalogue::Write& write) { hold_blob(write, digest); });
}

}  // namespace surcoat
