#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "layers/store/store.h"
#include "layers/tar.h"

namespace surcoat {

/// Work in progress. What it stages is invisible to everyone until commit() returns; if it is destroyed (or
/// its process dies) before that, nothing of it ever existed, and what lies on disk is garbage that the next
/// gc takes.
///
/// How (layers/store/README.md, "Publishing"): a new object is written beside its final name as
/// `objects/ab/<hex>.<tx>`; content that a live row names is not written at all. commit() makes everything
/// durable, then, under the short publish lock that gc's removals take too, renames and writes one catalogue
/// transaction. While it lives, the transaction's row (with its process's identity and its generation) keeps
/// gc from taking anything that it may have found present.
///
/// add_object may be called from one thread at a time, not from several at once.
class Transaction {
  public:
    Transaction(Store& store, std::string purpose);
    ~Transaction();
    Transaction(Transaction&&) noexcept;

    /// Content known in memory: hashed first, so that a duplicate is never written.
    ObjectId add_object(ByteSpan content);
    /// Streams a large content; runs of zeros become holes.
    class ObjectWriter;
    std::unique_ptr<ObjectWriter> open_object();
    /// A file of the host or of an upper: hashed while copied (by reflink where the filesystem can). Throws
    /// Errc::conflict if it changed size while it was read.
    ObjectId add_object_from(int fd, std::uint64_t size);

    /// Stages a layer whose contents are staged or present already: the deterministic archive of `entries`
    /// (in writing order, see diff_trees). Returns its DiffId; a layer that exists already is not staged.
    DiffId add_layer(const std::vector<Entry>& entries);

    struct ImportedLayer {
        DiffId diff_id;
        std::uint64_t archive_bytes = 0;
        Digest blob;  ///< of the bytes as they came (equals diff_id's when they were not compressed)
        std::uint64_t blob_bytes = 0;
        Compression compression = Compression::none;
        std::optional<Timestamp> newest;  ///< newest mtime of any entry
        bool existed = false;             ///< the layer was there already
    };
    struct ImportOptions {
        std::optional<Digest> expected_blob;         ///< Errc::corrupt if it differs
        std::optional<std::uint64_t> expected_size;  ///< of the blob
        std::optional<DiffId> expected_diff_id;
        std::optional<Compression> compression;  ///< sniffed if not given
        bool keep_blob = false;                  ///< stage the bytes as they came as a blob, with media_type
        std::string media_type;
        TarLimits limits;
        /// Paths to leave out and to rewrite nothing else: for rootfs archives (./dev/* is kept by default).
        Progress* progress = nullptr;
        std::string what = "archive";  ///< for messages and progress
        /// A compressed archive that grows by more than this factor after its first 64 MiB is refused as a
        /// bomb, as are holes of sparse files beyond 64 GiB and this factor; 0: no limit.
        std::uint64_t expansion_limit = 1000;
        /// Nothing will lie below this layer (a root filesystem): a hardlink whose target is not in the
        /// archive is then an error here, not later.
        bool base = false;
    };
    /// The import pipeline (notes store.md 3.2): read and hash ∥ inflate and hash ∥ parse, hash and write.
    /// Everything is verified before this returns; memory does not grow with the archive.
    ImportedLayer import_layer(ByteSource& source, const ImportOptions& options);

    /// Manifests, configurations, and kept layers: any bytes by their digest.
    Digest add_blob(std::string_view bytes, const std::string& media_type);

    // ---- what import_layer is made of
    /// Stages an archive that was read: what its toc file will hold. The contents that `toc.records` name
    /// (those marked archive_only too) were added to this transaction. False if the store or this transaction
    /// has the layer already (what was staged is then published only if gc takes the layer before commit()).
    bool stage_layer(const DiffId& id, const Toc& toc, ByteSpan skeleton);
    /// Remembers, on commit, that `row.blob` is a form of the staged (or present) layer `row.diff_id`.
    void stage_layer_blob(const LayerBlobRow& row);
    /// Streams a large blob. write() may be called from another thread than the transaction's; the rest not.
    class BlobWriter;
    std::unique_ptr<BlobWriter> open_blob();

    /// What the catalogue will say of a layer that is staged here; nothing for any other. (The manifest of an
    /// image made from it needs archive_bytes before commit.)
    std::optional<LayerRow> staged_layer(const DiffId& id) const;

    /// A new, empty directory of this transaction's own beneath tx/, for work that is no content (a
    /// workspace's upper): it goes with the transaction, with all that is in it.
    std::filesystem::path make_scratch_directory(const char* kind);

    /// Makes it all durable and publishes it, with whatever else `body` writes into the catalogue, in one
    /// catalogue transaction. Objects that no staged layer refers to are dropped. The transaction is over
    /// after this, whether it returns or throws; when it throws, nothing was published.
    void commit(const std::function<void(Catalogue::Write&)>& body = {});

    struct State;  ///< this folder's own: transaction_state.h

  private:
    std::unique_ptr<State> state_;
};

class Transaction::BlobWriter {
  public:
    virtual ~BlobWriter() = default;
    virtual void write(ByteSpan bytes) = 0;
    /// Ends it: the blob is staged under `digest`, which the caller computed from the same bytes (or dropped
    /// when it is present). Destroying the writer without this drops it.
    virtual void finish(const Digest& digest, const std::string& media_type) = 0;
};

class Transaction::ObjectWriter {
  public:
    virtual ~ObjectWriter() = default;
    virtual void write(ByteSpan bytes) = 0;
    /// A run of zeros that need not be stored.
    virtual void skip(std::uint64_t zero_bytes) = 0;
    /// Ends it; the content is staged (or found present). Destroying the writer without this drops it.
    virtual ObjectId finish() = 0;
};

}  // namespace surcoat
