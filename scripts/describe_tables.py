"""Job script of rule describe_tables: the type, unit and meaning of every column of the study's tables.

input: tables (list of CSV files); output: dictionary; params: structures (names), added (columns)
"""

from pathlib import Path

from lib.joblog import job_log
from lib.stats.data_dictionary import DICTIONARY, DICTIONARY_COLUMNS, data_dictionary, read_sentences
from lib.stats.tables import read_header, write_table

with job_log(snakemake.log[0]) as logger:
    params = snakemake.params
    headers = {
        Path(path).relative_to("results").as_posix(): read_header(path) for path in snakemake.input.tables
    }
    headers[DICTIONARY] = DICTIONARY_COLUMNS
    dictionary = data_dictionary(headers, params.structures, params.added, read_sentences())
    write_table(dictionary, snakemake.output.dictionary)
    logger.info("%d tables, %d columns", len(headers), len(dictionary) - len(headers))
