"""How the notebooks run and look; a notebook imports ``figures`` and ``results`` from here.

stages  notebook_runs  notebook_execution  up_to_date  runtimes  readme_headline     running them
results  program_index  inference_clocks  paper_tables     the small files that they hand to each other
stated_numbers                                     numbers in prose, compared with computed ones
figures  *_figures  design_widgets                 what they draw
"""
