"""BibTeX of the papers behind the algorithms: facts, kept apart from the code."""

from __future__ import annotations

CITATIONS: dict[str, str] = {
    "nair2020awac": """@article{nair2020awac,
  title={{AWAC}: Accelerating Online Reinforcement Learning with Offline Datasets},
  author={Nair, Ashvin and Gupta, Abhishek and Dalal, Murtaza and Levine, Sergey},
  journal={arXiv preprint arXiv:2006.09359},
  year={2020}
}""",
    "pomerleau1989alvinn": """@inproceedings{pomerleau1989alvinn,
  title={{ALVINN}: An Autonomous Land Vehicle in a Neural Network},
  author={Pomerleau, Dean A.},
  booktitle={Advances in Neural Information Processing Systems},
  volume={1},
  year={1989}
}""",
    "chen2021decision": """@inproceedings{chen2021decision,
  title={Decision Transformer: Reinforcement Learning via Sequence Modeling},
  author={Chen, Lili and Lu, Kevin and Rajeswaran, Aravind and Lee, Kimin and Grover, Aditya
          and Laskin, Michael and Abbeel, Pieter and Srinivas, Aravind and Mordatch, Igor},
  booktitle={Advances in Neural Information Processing Systems},
  volume={34},
  year={2021}
}""",
    "kostrikov2021offline": """@article{kostrikov2021offline,
  title={Offline Reinforcement Learning with Implicit {Q}-Learning},
  author={Kostrikov, Ilya and Nair, Ashvin and Levine, Sergey},
  journal={arXiv preprint arXiv:2110.06169},
  year={2021}
}""",
    "haarnoja2018soft": """@article{haarnoja2018soft,
  title={Soft Actor-Critic Algorithms and Applications},
  author={Haarnoja, Tuomas and Zhou, Aurick and Hartikainen, Kristian and Tucker, George and Ha, Sehoon and Tan, Jie
          and Kumar, Vikash and Zhu, Henry and Gupta, Abhishek and Abbeel, Pieter and Levine, Sergey},
  journal={arXiv preprint arXiv:1812.05905},
  year={2018}
}""",
    "fujimoto2021minimalist": """@inproceedings{fujimoto2021minimalist,
  title={A Minimalist Approach to Offline Reinforcement Learning},
  author={Fujimoto, Scott and Gu, Shixiang Shane},
  booktitle={Advances in Neural Information Processing Systems},
  volume={34},
  year={2021}
}""",
}


def short(bibtex: str) -> str:
    """`Kostrikov et al. 2021` from a BibTeX entry."""
    authors = bibtex.split("author={")[1].split("},")[0].split(" and ")
    year = bibtex.split("year={")[1].split("}")[0]
    name = authors[0].split(",")[0]
    return f"{name}{' et al.' if len(authors) > 2 else ''.join(' and ' + a.split(',')[0] for a in authors[1:])} {year}"
