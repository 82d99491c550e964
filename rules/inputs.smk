"""Which files each step reads: the functions behind the inputs. Tables are read once in a run."""


def screened_files():
    """Return the screening file of every scan; with partial=true of those that have one."""
    files = [f"results/screened/{scan}.json" for scan in SCANS]
    return [file for file in files if not config["partial"] or os.path.exists(file)]


# ---- the split, once screening has ended ----------------------------------------------------------------------
@cache
def _placements(path, modified):
    # a former row stays in the split when its scan is excluded or rejected later, but nothing is done with it
    accepted_now = {row.scan for row in accepted_scans(read_records("results/cohort/scans.csv"))}
    return [row for row in read_folds(path) if row.scan in SCANS and row.scan in accepted_now]


def placements():
    """Return the accepted scans with set, fold and batch. Waits for the checkpoint."""
    path = checkpoints.split_folds.get().output.folds
    return _placements(path, os.path.getmtime(path))


def accepted():
    return [row.scan for row in placements()]


@cache
def _predictions(rows):
    return plan_predictions(rows, COHORTS, NETWORKS, config["predict"]["heldout_weights"])


def predictions():
    """Return every prediction of the study; with partial=true those that have ended well."""
    planned = _predictions(tuple(placements()))
    if config["partial"]:
        planned = [
            row
            for row in planned
            if os.path.exists(f"results/masks/{row.folder}/{row.placement.scan}/mask.nii.gz")
        ]
    return planned


def made(pattern):
    """Return a file of every accepted scan; with partial=true of those that have one."""
    files = expand(pattern, scan=accepted())
    return [file for file in files if not config["partial"] or os.path.exists(file)]


def predicted_paths():
    """Return the common part of path, models and scan, of all predictions."""
    return [f"{row.folder}/{row.placement.scan}" for row in predictions()]


def models_of(cohort, network):
    """Return the model files of all folds."""
    folder = config["model"] or f"results/models/{cohort}/{network}"
    return [f"{folder}/fold-{fold}/model.pt" for fold in FOLDS]


def untrained():
    """Return a pattern of the folds that may be trained: none that has a model.pt, unless retrain=true.

    A finished model is a leaf of the workflow: neither new code nor a changed cohort trains it again by itself.
    """
    folds = [
        f"{cohort}/{network}/fold-{fold}"
        for cohort in COHORTS
        for network in NETWORKS
        for fold in FOLDS
        if not FINISHED
        and (
            config["retrain"] or not os.path.exists(f"results/models/{cohort}/{network}/fold-{fold}/model.pt")
        )
    ]
    # a look-ahead in the first wildcard's pattern holds for the three wildcards together
    return f"(?=(?:{'|'.join(folds)})/)[a-z]+" if folds else "(?!)"


def scans_of_fold(chosen, pattern):
    """Return the function that lists a file of each scan that `chosen` picks for a fold."""
    return lambda wildcards: [
        pattern.format(scan=row.scan)
        for row in placements()
        if chosen(row, wildcards.cohort, int(wildcards.fold))
    ]


def batch_scans(wildcards):
    """Return the scans of one batch that these members predict."""
    return [
        row.placement.scan
        for row in _predictions(tuple(placements()))
        if row.folder == f"{wildcards.cohort}/{wildcards.network}/{wildcards.members}"
        and row.placement.batch == int(wildcards.batch)
    ]


def member_models(wildcards):
    """Return the models that predict together; `single` picks one of them by its validation Dice."""
    models = models_of(wildcards.cohort, wildcards.network)
    if wildcards.members.startswith("fold-"):
        return [model for model in models if os.path.basename(os.path.dirname(model)) == wildcards.members]
    return models


def batch_folder(wildcards):
    """Return the batch that holds a scan's probability map."""
    batch = next(row.batch for row in placements() if row.scan == wildcards.scan)
    return f"results/predictions/{wildcards.cohort}/{wildcards.network}/{wildcards.members}/batch-{batch}"


def scored_paths():
    """Return the paths of predictions that have a reference to be compared with."""
    return [f"{row.folder}/{row.placement.scan}" for row in predictions() if row.protocol != "apply"]


def scored_scans(pattern):
    """Return a file of every scan that is scored at least once."""
    scans = dict.fromkeys(row.placement.scan for row in predictions() if row.protocol != "apply")
    return expand(pattern, scan=scans)


def figure_inputs(pattern):
    """Return one file for each scored prediction."""
    return lambda wildcards: [pattern.format(path=path) for path in scored_paths()]


def fold_files(name):
    """Return a file beside every model that the study uses."""
    models = [model for cohort in COHORTS for network in NETWORKS for model in models_of(cohort, network)]
    files = [f"{os.path.dirname(model)}/{name}" for model in models]
    # finished models may come without their history
    return [file for file in files if not (config["partial"] or FINISHED) or os.path.exists(file)]
