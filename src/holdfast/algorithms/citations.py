"""BibTeX entries of the papers behind the algorithms."""

from __future__ import annotations

CITATIONS: dict[str, str] = {
    "le2019batch": """@inproceedings{le2019batch,
  title={Batch Policy Learning under Constraints},
  author={Le, Hoang M. and Voloshin, Cameron and Yue, Yisong},
  booktitle={International Conference on Machine Learning},
  year={2019}
}""",
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
    "fujimoto2019benchmarking": """@article{fujimoto2019benchmarking,
  title={Benchmarking Batch Deep Reinforcement Learning Algorithms},
  author={Fujimoto, Scott and Conti, Edoardo and Ghavamzadeh, Mohammad and Pineau, Joelle},
  journal={arXiv preprint arXiv:1910.01708},
  year={2019}
}""",
    "kumar2020conservative": """@inproceedings{kumar2020conservative,
  title={Conservative {Q}-Learning for Offline Reinforcement Learning},
  author={Kumar, Aviral and Zhou, Aurick and Tucker, George and Levine, Sergey},
  booktitle={Advances in Neural Information Processing Systems},
  volume={33},
  year={2020}
}""",
    "mnih2015human": """@article{mnih2015human,
  title={Human-Level Control through Deep Reinforcement Learning},
  author={Mnih, Volodymyr and Kavukcuoglu, Koray and Silver, David and Rusu, Andrei A. and Veness, Joel
          and Bellemare, Marc G. and Graves, Alex and Riedmiller, Martin and Fidjeland, Andreas K. and Ostrovski, Georg
          and Petersen, Stig and Beattie, Charles and Sadik, Amir and Antonoglou, Ioannis and King, Helen
          and Kumaran, Dharshan and Wierstra, Daan and Legg, Shane and Hassabis, Demis},
  journal={Nature},
  volume={518},
  pages={529--533},
  year={2015}
}""",
    "agarwal2020optimistic": """@inproceedings{agarwal2020optimistic,
  title={An Optimistic Perspective on Offline Reinforcement Learning},
  author={Agarwal, Rishabh and Schuurmans, Dale and Norouzi, Mohammad},
  booktitle={International Conference on Machine Learning},
  year={2020}
}""",
    "dabney2018distributional": """@inproceedings{dabney2018distributional,
  title={Distributional Reinforcement Learning with Quantile Regression},
  author={Dabney, Will and Rowland, Mark and Bellemare, Marc G. and Munos, R{\\'e}mi},
  booktitle={AAAI Conference on Artificial Intelligence},
  year={2018}
}""",
    "fujimoto2019offpolicy": """@inproceedings{fujimoto2019offpolicy,
  title={Off-Policy Deep Reinforcement Learning without Exploration},
  author={Fujimoto, Scott and Meger, David and Precup, Doina},
  booktitle={International Conference on Machine Learning},
  year={2019}
}""",
    "lillicrap2015continuous": """@article{lillicrap2015continuous,
  title={Continuous Control with Deep Reinforcement Learning},
  author={Lillicrap, Timothy P. and Hunt, Jonathan J. and Pritzel, Alexander and Heess, Nicolas and Erez, Tom
          and Tassa, Yuval and Silver, David and Wierstra, Daan},
  journal={arXiv preprint arXiv:1509.02971},
  year={2015}
}""",
    "christodoulou2019soft": """@article{christodoulou2019soft,
  title={Soft Actor-Critic for Discrete Action Settings},
  author={Christodoulou, Petros},
  journal={arXiv preprint arXiv:1910.07207},
  year={2019}
}""",
    "an2021uncertainty": """@inproceedings{an2021uncertainty,
  title={Uncertainty-Based Offline Reinforcement Learning with Diversified {Q}-Ensemble},
  author={An, Gaon and Moon, Seungyong and Kim, Jang-Hyun and Song, Hyun Oh},
  booktitle={Advances in Neural Information Processing Systems},
  volume={34},
  year={2021}
}""",
    "tarasov2023revisiting": """@inproceedings{tarasov2023revisiting,
  title={Revisiting the Minimalist Approach to Offline Reinforcement Learning},
  author={Tarasov, Denis and Kurenkov, Vladislav and Nikulin, Alexander and Kolesnikov, Sergey},
  booktitle={Advances in Neural Information Processing Systems},
  volume={36},
  year={2023}
}""",
    "fujimoto2018addressing": """@inproceedings{fujimoto2018addressing,
  title={Addressing Function Approximation Error in Actor-Critic Methods},
  author={Fujimoto, Scott and van Hoof, Herke and Meger, David},
  booktitle={International Conference on Machine Learning},
  year={2018}
}""",
    "garg2023extreme": """@inproceedings{garg2023extreme,
  title={Extreme {Q}-Learning: {MaxEnt} {RL} without Entropy},
  author={Garg, Divyansh and Hejna, Joey and Geist, Matthieu and Ermon, Stefano},
  booktitle={International Conference on Learning Representations},
  year={2023}
}""",
    "peng2019advantage": """@article{peng2019advantage,
  title={Advantage-Weighted Regression: Simple and Scalable Off-Policy Reinforcement Learning},
  author={Peng, Xue Bin and Kumar, Aviral and Zhang, Grace and Levine, Sergey},
  journal={arXiv preprint arXiv:1910.00177},
  year={2019}
}""",
    "wu2019behavior": """@article{wu2019behavior,
  title={Behavior Regularized Offline Reinforcement Learning},
  author={Wu, Yifan and Tucker, George and Nachum, Ofir},
  journal={arXiv preprint arXiv:1911.11361},
  year={2019}
}""",
    "wang2020critic": """@inproceedings{wang2020critic,
  title={Critic Regularized Regression},
  author={Wang, Ziyu and Novikov, Alexander and {\\.Z}o{\\l}na, Konrad and Springenberg, Jost Tobias and Reed, Scott
          and Shahriari, Bobak and Siegel, Noah and Merel, Josh and Gulcehre, Caglar and Heess, Nicolas
          and de Freitas, Nando},
  booktitle={Advances in Neural Information Processing Systems},
  volume={33},
  year={2020}
}""",
    "kumar2019stabilizing": """@inproceedings{kumar2019stabilizing,
  title={Stabilizing Off-Policy {Q}-Learning via Bootstrapping Error Reduction},
  author={Kumar, Aviral and Fu, Justin and Tucker, George and Levine, Sergey},
  booktitle={Advances in Neural Information Processing Systems},
  volume={32},
  year={2019}
}""",
    "lyu2022mildly": """@inproceedings{lyu2022mildly,
  title={Mildly Conservative {Q}-Learning for Offline Reinforcement Learning},
  author={Lyu, Jiafei and Ma, Xiaoteng and Li, Xiu and Lu, Zongqing},
  booktitle={Advances in Neural Information Processing Systems},
  volume={35},
  year={2022}
}""",
    "zhou2020plas": """@inproceedings{zhou2020plas,
  title={{PLAS}: Latent Action Space for Offline Reinforcement Learning},
  author={Zhou, Wenxuan and Bajracharya, Sujay and Held, David},
  booktitle={Conference on Robot Learning},
  year={2020}
}""",
    "luo2024offline": """@inproceedings{luo2024offline,
  title={Offline-Boosted Actor-Critic: Adaptively Blending Optimal Historical Behaviors in Deep Off-Policy {RL}},
  author={Luo, Yu and Ji, Tianying and Sun, Fuchun and Zhang, Jianwei and Xu, Huazhe and Zhan, Xianyuan},
  booktitle={International Conference on Machine Learning},
  series={Proceedings of Machine Learning Research},
  volume={235},
  pages={33411--33431},
  year={2024}
}""",
    "wu2022supported": """@inproceedings{wu2022supported,
  title={Supported Policy Optimization for Offline Reinforcement Learning},
  author={Wu, Jialong and Wu, Haixu and Qiu, Zihan and Wang, Jianmin and Long, Mingsheng},
  booktitle={Advances in Neural Information Processing Systems},
  volume={35},
  year={2022}
}""",
    "yu2023actor": """@inproceedings{yu2023actor,
  title={Actor-Critic Alignment for Offline-to-Online Reinforcement Learning},
  author={Yu, Zishun and Zhang, Xinhua},
  booktitle={International Conference on Machine Learning},
  pages={40452--40474},
  year={2023}
}""",
    "yu2020mopo": """@inproceedings{yu2020mopo,
  title={{MOPO}: Model-based Offline Policy Optimization},
  author={Yu, Tianhe and Thomas, Garrett and Yu, Lantao and Ermon, Stefano and Zou, James and Levine, Sergey
          and Finn, Chelsea and Ma, Tengyu},
  booktitle={Advances in Neural Information Processing Systems},
  volume={33},
  year={2020}
}""",
    "yu2021combo": """@inproceedings{yu2021combo,
  title={{COMBO}: Conservative Offline Model-Based Policy Optimization},
  author={Yu, Tianhe and Kumar, Aviral and Rafailov, Rafael and Rajeswaran, Aravind and Levine, Sergey
          and Finn, Chelsea},
  booktitle={Advances in Neural Information Processing Systems},
  volume={34},
  year={2021}
}""",
    "sun2023model": """@inproceedings{sun2023model,
  title={Model-{B}ellman Inconsistency for Model-based Offline Reinforcement Learning},
  author={Sun, Yihao and Zhang, Jiaji and Jia, Chengxing and Lin, Haoxin and Ye, Junyin and Yu, Yang},
  booktitle={International Conference on Machine Learning},
  year={2023}
}""",
    "rigter2022rambo": """@inproceedings{rigter2022rambo,
  title={{RAMBO-RL}: Robust Adversarial Model-Based Offline Reinforcement Learning},
  author={Rigter, Marc and Lacerda, Bruno and Hawes, Nick},
  booktitle={Advances in Neural Information Processing Systems},
  volume={35},
  year={2022}
}""",
    "kidambi2020morel": """@inproceedings{kidambi2020morel,
  title={{MOReL}: Model-Based Offline Reinforcement Learning},
  author={Kidambi, Rahul and Rajeswaran, Aravind and Netrapalli, Praneeth and Joachims, Thorsten},
  booktitle={Advances in Neural Information Processing Systems},
  volume={33},
  year={2020}
}""",
    "nakamoto2023calql": """@inproceedings{nakamoto2023calql,
  title={{Cal-QL}: Calibrated Offline {RL} Pre-Training for Efficient Online Fine-Tuning},
  author={Nakamoto, Mitsuhiko and Zhai, Yuexiang and Singh, Anikait and Sobol Mark, Max and Ma, Yi and Finn, Chelsea
          and Kumar, Aviral and Levine, Sergey},
  booktitle={Advances in Neural Information Processing Systems},
  volume={36},
  year={2023}
}""",
    "ball2023efficient": """@inproceedings{ball2023efficient,
  title={Efficient Online Reinforcement Learning with Offline Data},
  author={Ball, Philip J. and Smith, Laura and Kostrikov, Ilya and Levine, Sergey},
  booktitle={International Conference on Machine Learning},
  year={2023}
}""",
    "wu2021uncertainty": """@inproceedings{wu2021uncertainty,
  title={Uncertainty Weighted Actor-Critic for Offline Reinforcement Learning},
  author={Wu, Yue and Zhai, Shuangfei and Srivastava, Nitish and Susskind, Joshua and Zhang, Jian
          and Salakhutdinov, Ruslan and Goh, Hanlin},
  booktitle={International Conference on Machine Learning},
  year={2021}
}""",
    "park2025flow": """@inproceedings{park2025flow,
  title={Flow {Q}-Learning},
  author={Park, Seohong and Li, Qiyang and Levine, Sergey},
  booktitle={International Conference on Machine Learning},
  year={2025}
}""",
    "wang2022diffusion": """@inproceedings{wang2022diffusion,
  title={Diffusion Policies as an Expressive Policy Class for Offline Reinforcement Learning},
  author={Wang, Zhendong and Hunt, Jonathan J. and Zhou, Mingyuan},
  booktitle={International Conference on Learning Representations},
  year={2023}
}""",
    "hansenestruch2023idql": """@article{hansenestruch2023idql,
  title={{IDQL}: Implicit {Q}-Learning as an Actor-Critic Method with Diffusion Policies},
  author={Hansen-Estruch, Philippe and Kostrikov, Ilya and Janner, Michael and Kuba, Jakub Grudzien and Levine, Sergey},
  journal={arXiv preprint arXiv:2304.10573},
  year={2023}
}""",
    "li2025reinforcement": """@inproceedings{li2025reinforcement,
  title={Reinforcement Learning with Action Chunking},
  author={Li, Qiyang and Zhou, Zhiyuan and Levine, Sergey},
  booktitle={Advances in Neural Information Processing Systems},
  year={2025}
}""",
    "lee2021optidice": """@inproceedings{lee2021optidice,
  title={{OptiDICE}: Offline Policy Optimization via Stationary Distribution Correction Estimation},
  author={Lee, Jongmin and Jeon, Wonseok and Lee, Byung-Jun and Pineau, Joelle and Kim, Kee-Eung},
  booktitle={International Conference on Machine Learning},
  year={2021}
}""",
    "nachum2019algaedice": """@article{nachum2019algaedice,
  title={{AlgaeDICE}: Policy Gradient from Arbitrary Experience},
  author={Nachum, Ofir and Dai, Bo and Kostrikov, Ilya and Chow, Yinlam and Li, Lihong and Schuurmans, Dale},
  journal={arXiv preprint arXiv:1912.02074},
  year={2019}
}""",
    "yang2020offpolicy": """@inproceedings{yang2020offpolicy,
  title={Off-Policy Evaluation via the Regularized {Lagrangian}},
  author={Yang, Mengjiao and Nachum, Ofir and Dai, Bo and Li, Lihong and Schuurmans, Dale},
  booktitle={Advances in Neural Information Processing Systems},
  volume={33},
  year={2020}
}""",
}


def short(bibtex: str) -> str:
    """`Kostrikov et al. 2021` from a BibTeX entry."""
    authors = bibtex.split("author={")[1].split("},")[0].split(" and ")
    year = bibtex.split("year={")[1].split("}")[0]
    name = authors[0].split(",")[0]
    return f"{name}{' et al.' if len(authors) > 2 else ''.join(' and ' + a.split(',')[0] for a in authors[1:])} {year}"
