//! Slurm: an array of jobs, a task for each shard, and a job that merges them.
//!
//! Nothing is remembered between two calls. What is done is read from the results folder, and what is in
//! the queue from `squeue`, by the names of the jobs, which say the folder.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{cluster::shell, data::sha256, results::shard::Shard};

/// The folder of scripts and logs in a results folder.
pub const FOLDER: &str = "slurm";

/// Options of `sbatch` by which jobs find each other.
const OURS: [&str; 12] = [
    "--array",
    "-a",
    "--dependency",
    "-d",
    "--job-name",
    "-J",
    "--parsable",
    "--wrap",
    "--wait",
    "-W",
    "--kill-on-invalid-dep",
    "--test-only",
];

/// Why Slurm did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlurmError {
    /// There is no such program.
    #[error(
        "there is no `{program}` on this machine: run this where jobs are submitted, on a login node of the cluster"
    )]
    Missing {
        /// Its name.
        program: &'static str,
    },
    /// A program could not be run.
    #[error("cannot run `{program}`: {source}")]
    Run {
        /// Its name.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A program failed.
    #[error("`{program}` failed: {message}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// What it said.
        message: String,
    },
    /// An option that would undo what this program does.
    #[error("the sbatch option {option} is ddim's own here; leave it out")]
    Option {
        /// The option.
        option: String,
    },
    /// A script that cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The script.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A job or a task of an array in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The number of the job, of an array that of all its tasks.
    pub job: u64,
    /// The shard it draws; none of a merge.
    pub shard: Option<Shard>,
    /// `R`, `PD` and so on.
    pub state: String,
    /// Why it waits, as Slurm says it.
    pub reason: String,
}

impl Queued {
    /// As dependencies and `scancel` name it.
    pub fn id(&self) -> String {
        match self.shard {
            Some(shard) => format!("{}_{}", self.job, shard.number()),
            None => self.job.to_string(),
        }
    }

    /// Whether it waits for what cannot happen any more.
    pub fn is_stuck(&self) -> bool {
        self.reason.contains("DependencyNeverSatisfied")
    }
}

/// What is submitted.
pub struct Jobs {
    /// The results folder, from the root.
    pub folder: PathBuf,
    /// Name of the experiment.
    pub name: String,
    /// How many shards.
    pub count: usize,
    /// Where commands start: paths in manifests are relative to it.
    pub here: PathBuf,
    /// This program.
    pub program: PathBuf,
    /// Its arguments behind `run` or `merge`, without shard and threads.
    pub arguments: Vec<OsString>,
    /// The number of threads, if it is fixed.
    pub threads: Option<usize>,
    /// Further options of `sbatch`.
    pub options: Vec<OsString>,
}

impl Jobs {
    /// Refuses options that are this program's own.
    ///
    /// # Errors
    /// The first one.
    pub fn check(&self) -> Result<(), SlurmError> {
        let ours = |option: &&OsString| {
            let text = option.to_string_lossy();
            OURS.iter().any(|known| match known.strip_prefix("--") {
                // Slurm takes the start of a long option for all of it.
                Some(long) => text.strip_prefix("--").is_some_and(|given| {
                    let given = given.split('=').next().unwrap_or(given);
                    given.len() > 1 && long.starts_with(given)
                }),
                None => !text.starts_with("--") && text.starts_with(known),
            })
        };
        match self.options.iter().find(ours) {
            Some(option) => {
                Err(SlurmError::Option { option: option.to_string_lossy().into_owned() })
            }
            None => Ok(()),
        }
    }

    /// What the names of all jobs of this folder begin with.
    fn stem(&self) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let name: String = self.name.chars().filter(|&c| is_plain(c)).take(40).collect();
        let folder = sha256(self.folder.as_os_str().as_encoded_bytes());
        format!("ddim-{name}-{}", &folder[..8])
    }

    fn array_name(&self) -> String {
        format!("{}-{}", self.stem(), self.count)
    }

    fn merge_name(&self) -> String {
        format!("{}-merge", self.stem())
    }

    /// The scripts with their paths: that of a shard, and that of the merge.
    pub fn scripts(&self) -> [(PathBuf, String); 2] {
        let shown = self.folder.display();
        let threads = match self.threads {
            Some(threads) => threads.to_string(),
            None => "\"${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}\"".to_owned(),
        };
        let script = |name: &str, what: &str, verb: &str, more: &str| {
            let mut words = vec![self.program.clone().into_os_string(), verb.into()];
            words.extend(self.arguments.iter().cloned());
            words.extend(["--threads".into()]);
            // `exec`: signals of the scheduler reach the program itself.
            let text = format!(
                "#!/bin/sh\n# {what} of {shown}; `ddim submit` writes and submits this.\n\
                 #SBATCH --requeue\ncd {} || exit 1\nexec {} {threads}{more}\n",
                shell::line(&[self.here.clone().into_os_string()]),
                shell::line(&words),
            );
            (self.folder.join(FOLDER).join(name), text)
        };
        let shard = format!(" --shard \"$SLURM_ARRAY_TASK_ID/{}\"", self.count);
        [script("shard.sh", "A shard", "run", &shard), script("merge.sh", "The merge", "merge", "")]
    }

    /// The command that submits the array for some shards.
    pub fn array(&self, shards: &[Shard]) -> Vec<OsString> {
        let array = format!("--array={}", ranges(shards));
        self.sbatch(&self.array_name(), "shard-%a-%A.out", &[array], 0)
    }

    /// The command that submits the merge, after the given jobs.
    pub fn merge(&self, after: &[String]) -> Vec<OsString> {
        let own = (!after.is_empty()).then(|| {
            [
                format!("--dependency=afterok:{}", after.join(":")),
                "--kill-on-invalid-dep=yes".into(),
            ]
        });
        let own: Vec<String> = own.into_iter().flatten().collect();
        self.sbatch(&self.merge_name(), "merge-%j.out", &own, 1)
    }

    fn sbatch(&self, name: &str, log: &str, own: &[String], script: usize) -> Vec<OsString> {
        let mut output = OsString::from("--output=");
        // Slurm fills in what follows a per cent sign.
        let folder = self.folder.join(FOLDER).display().to_string().replace('%', "%%");
        output.push(Path::new(&folder).join(log));
        let mut words: Vec<OsString> =
            vec!["sbatch".into(), "--parsable".into(), format!("--job-name={name}").into(), output];
        words.extend(own.iter().map(OsString::from));
        words.extend(self.options.iter().cloned());
        words.push(self.scripts()[script].0.clone().into());
        words
    }

    /// Writes the scripts.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn write(&self) -> Result<(), SlurmError> {
        let [(shard, _), _] = self.scripts();
        let folder = shard.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)
            .map_err(|source| SlurmError::Write { path: folder.into(), source })?;
        for (path, text) in self.scripts() {
            crate::data::atomic::write(&path, text.as_bytes())
                .map_err(|source| SlurmError::Write { path, source })?;
        }
        Ok(())
    }

    /// What is in the queue of this folder, whatever the number of shards.
    ///
    /// # Errors
    /// No `squeue`, or one that does not answer.
    pub fn queue(&self) -> Result<Vec<Queued>, SlurmError> {
        let words = ["squeue", "--me", "--noheader", "--array", "--format=%F|%K|%t|%j|%r"];
        let listed = answer("squeue", &words.map(OsString::from))?;
        Ok(self.queued(&listed))
    }

    fn queued(&self, listed: &str) -> Vec<Queued> {
        let stem = self.stem();
        let of_line = |line: &str| {
            let mut fields = line.trim().splitn(5, '|');
            let mut next = || fields.next();
            let (job, task, state, name) = (next()?.parse().ok()?, next()?, next()?, next()?);
            let reason = next().unwrap_or_default().to_owned();
            let shard = match name.strip_prefix(&stem)?.strip_prefix('-')? {
                "merge" => None,
                count => Some(Shard::new(task.parse().ok()?, count.parse().ok()?).ok()?),
            };
            Some(Queued { job, shard, state: state.to_owned(), reason })
        };
        listed.lines().filter_map(of_line).collect()
    }
}

/// Runs a command that submits a job, and returns the job's number.
///
/// # Errors
/// No `sbatch`, or a job that it refuses.
pub fn submit(words: &[OsString]) -> Result<u64, SlurmError> {
    let said = answer("sbatch", words)?;
    let number = said.trim().split(';').next().and_then(|number| number.parse().ok());
    number.ok_or_else(|| SlurmError::Failed {
        program: "sbatch",
        message: format!("it gave no number of a job: {}", said.trim()),
    })
}

/// Takes jobs out of the queue.
///
/// # Errors
/// No `scancel`, or one that fails.
pub fn cancel(ids: &[String]) -> Result<(), SlurmError> {
    let words = ["scancel".to_owned()].into_iter().chain(ids.iter().cloned());
    let words: Vec<OsString> = words.map(OsString::from).collect();
    answer("scancel", &words).map(drop)
}

/// Whether a program is there.
///
/// # Errors
/// It is not.
pub fn find(program: &'static str) -> Result<(), SlurmError> {
    run(program, &[program.into(), "--version".into()]).map(drop)
}

fn answer(program: &'static str, words: &[OsString]) -> Result<String, SlurmError> {
    let output = run(program, words)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = [text(&output.stderr), text(&output.stdout)].join(" ");
    Err(SlurmError::Failed { program, message: said.trim().to_owned() })
}

fn run(program: &'static str, words: &[OsString]) -> Result<Output, SlurmError> {
    let first = words.first().map_or(OsStr::new(program), |word| word);
    Command::new(first).args(words.iter().skip(1)).output().map_err(|source| {
        if source.kind() == ErrorKind::NotFound {
            SlurmError::Missing { program }
        } else {
            SlurmError::Run { program, source }
        }
    })
}

/// The numbers of shards as an array's: `1-4,7`.
pub fn ranges(shards: &[Shard]) -> String {
    let numbers: Vec<usize> = shards.iter().map(|shard| shard.number()).collect();
    let chunks = numbers.chunk_by(|a, b| a + 1 == *b);
    let range = |chunk: &[usize]| match *chunk {
        [only] => only.to_string(),
        _ => format!("{}-{}", chunk[0], chunk[chunk.len() - 1]),
    };
    chunks.map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(options: &[&str]) -> Jobs {
        Jobs {
            folder: "/data/my results/100 %/t".into(),
            name: "table 1'".into(),
            count: 8,
            here: "/home/me/it's".into(),
            program: "/home/me/ddim".into(),
            arguments: ["a b.toml", "--set", "samples=4"].map(OsString::from).to_vec(),
            threads: None,
            options: options.iter().map(OsString::from).collect(),
        }
    }

    #[test]
    fn scripts_and_commands_are_what_a_shell_reads() {
        let jobs = jobs(&["--partition=gpu", "--gres=gpu:1"]);
        let [(path, shard), (_, merge)] = jobs.scripts();
        assert_eq!(path, Path::new("/data/my results/100 %/t/slurm/shard.sh"));
        insta::assert_snapshot!(shard, @r#"
        #!/bin/sh
        # A shard of /data/my results/100 %/t; `ddim submit` writes and submits this.
        #SBATCH --requeue
        cd '/home/me/it'\''s' || exit 1
        exec /home/me/ddim run 'a b.toml' --set samples=4 --threads "${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}" --shard "$SLURM_ARRAY_TASK_ID/8"
        "#);
        insta::assert_snapshot!(merge.lines().last().unwrap(), @r#"exec /home/me/ddim merge 'a b.toml' --set samples=4 --threads "${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}""#);
        let shards: Vec<Shard> =
            Shard::all(8).filter(|shard| [1, 2, 3, 5, 8].contains(&shard.number())).collect();
        insta::assert_snapshot!(shell::line(&jobs.array(&shards)), @"sbatch --parsable --job-name=ddim-table1-6b95e8f0-8 '--output=/data/my results/100 %%/t/slurm/shard-%a-%A.out' --array=1-3,5,8 --partition=gpu --gres=gpu:1 '/data/my results/100 %/t/slurm/shard.sh'");
        let after = ["12".to_owned(), "9_2".to_owned()];
        insta::assert_snapshot!(shell::line(&jobs.merge(&after)), @"sbatch --parsable --job-name=ddim-table1-6b95e8f0-merge '--output=/data/my results/100 %%/t/slurm/merge-%j.out' --dependency=afterok:12:9_2 --kill-on-invalid-dep=yes --partition=gpu --gres=gpu:1 '/data/my results/100 %/t/slurm/merge.sh'");
        let fixed = Jobs { threads: Some(4), ..jobs };
        assert!(fixed.scripts()[0].1.contains(" --threads 4 --shard"));
    }

    #[test]
    fn the_queue_is_read_by_names() {
        let jobs = jobs(&[]);
        let stem = jobs.stem();
        let listed = format!(
            "12|3|R|{stem}-8|None\n12|5|PD|{stem}-8|Resources\n13|N/A|PD|{stem}-merge|Dependency\n\
             14|N/A|PD|{stem}-merge|DependencyNeverSatisfied\n9|1|R|{stem}-4|None\n\
             15|2|R|ddim-other-8|None\n16|x|R|{stem}-8|None\nnonsense\n"
        );
        let queued = jobs.queued(&listed);
        let shown: Vec<(String, Option<String>, bool)> = queued
            .iter()
            .map(|q| (q.id(), q.shard.map(|shard| shard.to_string()), q.is_stuck()))
            .collect();
        let row = |id: &str, shard: &str, stuck| {
            (id.to_owned(), Some(shard.to_owned()).filter(|s| !s.is_empty()), stuck)
        };
        assert_eq!(
            shown,
            [
                row("12_3", "3/8", false),
                row("12_5", "5/8", false),
                row("13", "", false),
                row("14", "", true),
                row("9_1", "1/4", false),
            ]
        );
    }

    #[test]
    fn options_that_would_undo_the_array_are_refused() {
        for option in
            ["--array=1-3", "-a1", "--arr=2", "-Jmine", "--job-name", "-d", "--wrap=x", "-W"]
        {
            let error = jobs(&["--time=1:00", option]).check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("the sbatch option {option} is")), "{error}");
        }
        let fine =
            ["--account=me", "--time=1:00:00", "-p", "gpu", "-c4", "--gres=gpu:1", "-t", "5"];
        jobs(&fine).check().unwrap();
    }

    #[test]
    fn a_program_that_is_missing_fails_or_prints_nonsense_is_named() {
        let words = |line: &str| ["sh", "-c", line].map(OsString::from);
        assert_eq!(submit(&words("echo '17;cluster'")).unwrap(), 17);
        let error = submit(&words("echo no room >&2; exit 3")).unwrap_err().to_string();
        assert_eq!(error, "`sbatch` failed: no room");
        let error = submit(&words("echo hello")).unwrap_err().to_string();
        assert_eq!(error, "`sbatch` failed: it gave no number of a job: hello");
        let error = submit(&["/no/sbatch".into()]).unwrap_err();
        assert!(matches!(error, SlurmError::Missing { program: "sbatch" }), "{error}");
    }
}
